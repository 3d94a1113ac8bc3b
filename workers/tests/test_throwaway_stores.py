from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from workers import resp
from workers.processes import identity, ticks
from workers.throwaway import throwaway_stores
from workers.wheels import CHECKOUT

_HOLD = """
import json, time
from workers.throwaway import throwaway_stores
with throwaway_stores() as environment:
    print(json.dumps(environment), flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def own_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """So that other runs on this machine are neither counted nor cleaned up."""
    with tempfile.TemporaryDirectory(prefix="boritrader-tests-of-throwaway-") as name:
        home = Path(name)
        home.chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", name)
        monkeypatch.setenv("TMPDIR", name)
        yield home


def test_two_runs_at_once_have_nothing_in_common() -> None:
    with throwaway_stores() as first, throwaway_stores() as second:
        resp.ask(first["BROKER_URL"], "SET", "mine", "1")

        assert not {first[name] for name in ("DATABASE_URL", "BROKER_URL", "LIVE_URL", "SECRET_KEY")} & {
            *second.values()
        }
        assert resp.ask(second["BROKER_URL"], "GET", "mine") is None
        psycopg2.connect(second["DATABASE_URL"]).close()


def test_afterwards_nothing_is_left(own_temporary_folder: Path) -> None:
    with throwaway_stores() as environment:
        assert len(list(own_temporary_folder.iterdir())) == 1

    assert list(own_temporary_folder.iterdir()) == []
    with pytest.raises(resp.StoreUnreachable):
        resp.ask(environment["LIVE_URL"], "PING")


def test_an_interrupted_run_leaves_nothing_either(own_temporary_folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), throwaway_stores():
        raise KeyboardInterrupt

    assert list(own_temporary_folder.iterdir()) == []


def test_the_next_run_removes_what_a_killed_one_left_and_only_that(own_temporary_folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD], stdout=subprocess.PIPE, cwd=CHECKOUT, env=os.environ
    ) as killed:
        assert killed.stdout is not None
        killed.stdout.readline()
        (abandoned,) = own_temporary_folder.iterdir()
        pids = [int(path.read_text().split()[0]) for path in abandoned.glob("*/pid")]
        killed.send_signal(signal.SIGKILL)
    assert len(pids) == 3

    with throwaway_stores(), throwaway_stores():
        assert not abandoned.exists()
        assert len(list(own_temporary_folder.iterdir())) == 2

    assert all(any(identity(pid) is None for _ in ticks(30)) for pid in pids)


def test_this_run_of_the_tests_has_stores_of_its_own() -> None:
    assert os.environ["DATABASE_URL"].endswith("/boritrader")
    assert str(CHECKOUT / ".run") not in str(os.environ["DATABASE_URL"])
    assert resp.ask(os.environ["BROKER_URL"], "PING") == resp.ask(os.environ["LIVE_URL"], "PING") == "PONG"
