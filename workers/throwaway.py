"""Stores for one run of the tests or of a bench: started in a temporary folder, gone afterwards, alone with their run."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from workers.embedded import Postgres, Store, StoreDidNotStart, Valkey, free_port
from workers.processes import PidFile, end
from workers.wheels import OWN_FOLDER, Account

_PREFIX = "boritrader-throwaway-"
# Nothing here must outlive the run, so nothing needs to reach the disk.
_NO_DISK = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


@contextlib.contextmanager
def throwaway_stores() -> Iterator[dict[str, str]]:
    """Starts one Postgres and two Valkeys on free ports; gives the environment that makes the product use them.

    The environment names every variable that `.run/env` would otherwise fill in, so that the two never mix. Takes
    about a second. Raises StoreMissing or StoreDidNotStart. Any number of runs may be in here at once.
    """
    with throwaway_folder() as folder, contextlib.ExitStack() as running:
        postgres = Postgres(folder / "postgres", 0, settings=_NO_DISK)
        broker = Valkey(folder / "broker", 0, is_durable=False)
        live = Valkey(folder / "live", 0, is_durable=False)
        for store in (postgres, broker, live):
            running.callback(store.stop)
            _start_on_a_free_port(store)
        yield {
            "DATABASE_URL": postgres.url,
            "BROKER_URL": broker.url,
            "LIVE_URL": live.url,
            "SECRET_KEY": secrets.token_urlsafe(48),
            "FLOWER_BASIC_AUTH": f"operator:{secrets.token_urlsafe(12)}",
            "EXCHANGE": "simulated",
            "SIMULATOR_URL": "http://127.0.0.1:1",  # nobody there: a test that wants one starts its own
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "WEB_HOST": "127.0.0.1",
            "WEB_PORT": "8000",
            "DEBUG": "0",
            "DEMO": "0",
            "HTTPS": "0",
        }


def _start_on_a_free_port(store: Store, *, tries: int = 5) -> None:
    """Somebody else may take the port between asking for it and using it: then asks again."""
    for left in reversed(range(tries)):
        store.port = free_port()
        try:
            return store.start()
        except StoreDidNotStart:
            if not left:
                raise
    return None


@contextlib.contextmanager
def throwaway_folder() -> Iterator[Path]:
    """A temporary folder that the stores' account can reach, locked while in use. Folders that killed runs left behind go first."""
    home = Path(tempfile.gettempdir())
    if not Account.of_stores().can_reach(home):  # TMPDIR under /root, say
        home = OWN_FOLDER
        home.mkdir(mode=0o755, exist_ok=True)
    for left in home.glob(f"{_PREFIX}*"):
        if left.is_dir() and left.stat().st_uid == os.geteuid():
            _remove_if_abandoned(left)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=home))
    with (folder / "in-use").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder.chmod(0o711)  # the stores' account passes through to its own folders
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_abandoned(folder: Path) -> None:
    """Removes what a killed run left: its lock is free, which it is only then. Its stores are ended first."""
    try:
        with (folder / "in-use").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for kind in (Postgres, Valkey):
                for name in ("postgres", "broker", "live"):
                    pid = PidFile(folder / name / "pid").running()
                    if pid is not None:
                        end(pid, signals=kind.ending)
            shutil.rmtree(folder, ignore_errors=True)
    except (FileNotFoundError, BlockingIOError):
        return  # just being made, or in use
