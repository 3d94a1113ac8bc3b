"""`make run` for real, in a folder and on ports of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg2
import pytest

from workers import supervisor
from workers.processes import identity, ticks
from workers.tests.running import Running, free_ports

_MAIN = """
import sys
from workers import supervisor
sys.exit(supervisor.main())
"""
_PROCESSES = [
    "broker",
    "live",
    "postgres",
    "simulator",
    "heartbeat",
    "worker-sweep",
    "worker-default",
    "worker-record",
    "beat",
    "flower",
    "web",
]

Run = Callable[[], Running]


@pytest.fixture
def folder() -> Iterator[Path]:
    """In place of `.run/`. Not one of pytest's: those are closed to the account of the stores."""
    with TemporaryDirectory(prefix="boritrader-tests-of-run-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def make_run(folder: Path) -> Iterator[Run]:
    ours = {name for name in os.environ if name in supervisor.STORES} | {
        "SECRET_KEY",
        "FLOWER_BASIC_AUTH",
        "SIMULATOR_URL",
        "DEMO",
    }
    env = {name: value for name, value in os.environ.items() if name not in ours}
    env |= free_ports() | {"SIMULATOR_TICKERS": "5", "RUN_FOLDER": str(folder)}
    started: list[Running] = []

    def start() -> Running:
        started.append(Running(_MAIN, env=env))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.end()


def pids(folder: Path) -> dict[str, int]:
    return {path.name: int(path.read_text().split()[0]) for path in (folder / "pids").iterdir()}


def people(folder: Path) -> set[tuple[str, str]]:
    connection = psycopg2.connect(supervisor.read_env(folder / "env")["DATABASE_URL"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT username, password FROM accounts_user")
        found = {(str(name), str(password)) for name, password in cursor.fetchall()}
    connection.close()
    return found


def are_gone(running: list[int]) -> bool:
    return any(all(identity(pid) is None for pid in running) for _ in ticks(30))


def using(secret: str) -> list[int]:
    """Every process that was given this secret in its environment: also children that no pid file names."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if secret.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


@pytest.mark.processes
@pytest.mark.timeout(600)
def test_it_starts_mends_itself_survives_its_own_death_and_leaves_nothing(make_run: Run, folder: Path) -> None:
    first = make_run()
    first.line("Boritrader runs, on a simulated market")
    started = pids(folder)
    env = supervisor.read_env(folder / "env")
    known = people(folder)

    assert sorted(started) == sorted(_PROCESSES)
    assert stat.S_IMODE((folder / "env").stat().st_mode) == 0o600
    assert {"alice", "bob", "oscar", "master_bot"} <= {name for name, _ in known}
    assert env["SECRET_KEY"] not in "\n".join(first.seen)

    assert len(using(env["SECRET_KEY"])) >= 7  # so that 0 at the end means something
    for name in ("worker-sweep", "broker", "web"):
        os.kill(started[name], signal.SIGKILL)
        first.line(rf"^supervisor +\| {name} ended with signal SIGKILL; starting it again in 0.5 s")
        assert first.pid_of(name) != started[name]

    left = list(pids(folder).values())
    first.process.kill()
    second = make_run()
    second.line("Boritrader runs, on a simulated market")

    assert are_gone(left)
    assert supervisor.read_env(folder / "env") == env
    assert people(folder) == known

    left = list(pids(folder).values())
    assert second.end(signal.SIGINT) == 0
    assert are_gone(left)
    assert using(env["SECRET_KEY"]) == []
    assert not any(re.search("Traceback", line) for line in second.seen if not line.startswith("flower"))
