"""The product under test: all of it, under its real supervisor, in a folder and on ports of its own."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import requests

from workers import supervisor
from workers.processes import die_with_parent, identity, kill_group
from workers.product import Product
from workers.throwaway import throwaway_folder
from workers.wheels import CHECKOUT

SETTINGS = "workers.chaos.settings"
START_WITHIN = 180.0  # seconds
RESTART_AFTER = 0.5  # seconds until an ended supervisor has a successor
STORES = ("postgres", "broker", "live")


class DidNotStart(Exception):
    """The product under test did not come up at all: nothing can be said about faults. Its last lines say why."""


class Installation:
    """Processes are named as in `make run`. Use `installed()`."""

    def __init__(self, folder: Path, *, tickers: int) -> None:
        self.folder = folder
        self._env = _environment(folder, tickers)
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._is_kept = False
        self._keeper = threading.Thread(target=self._keep, name="init", daemon=True)
        self.product: Product

    def start(self) -> None:
        """Starts a supervisor, and waits until the web answers. From then on another one follows any that ends."""
        self._start_supervisor()
        self.wait_for("the web", lambda: self._is_up())
        self.values = supervisor.read_env(self.folder / "env")
        logs = self.folder / "logs-of-chaos"
        logs.mkdir(exist_ok=True)
        self.product = Product(self._env | self.values, logs)
        self._is_kept = True
        self._keeper.start()

    def _keep(self) -> None:
        """What an init system does."""
        while self._is_kept:
            if self._supervisor is not None and self._supervisor.poll() is not None:
                self._start_supervisor()
            time.sleep(RESTART_AFTER)

    def _start_supervisor(self) -> None:
        with (self.folder / "supervisor.out").open("ab") as out:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-m", "workers.supervisor"],
                cwd=CHECKOUT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=die_with_parent(signal.SIGTERM),  # the keeper lives as long as we do
            )

    def kill_supervisor(self) -> None:
        """kill -9: it cannot end anything; its successor must."""
        assert self._supervisor is not None
        self._supervisor.kill()

    def stop(self) -> None:
        """Ends everything."""
        if hasattr(self, "product"):
            self.product.stop()
        self._is_kept = False
        if self._keeper.is_alive():
            self._keeper.join()
        if self._supervisor is None:
            return
        for name in STORES:  # one that was frozen cannot hear
            self.thaw(name)
        self._supervisor.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._supervisor.wait(60)
        kill_group(self._supervisor.pid)
        self._supervisor.wait()

    # --- Processes ---

    @property
    def names(self) -> list[str]:
        """Every process that must run."""
        return [*STORES, *(program.name for program in supervisor.programs(self.values))]

    def pid(self, name: str) -> int | None:
        """The process of this name, if it runs now."""
        try:
            pid = int((self.folder / "pids" / name).read_text().split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return None
        return pid if identity(pid) is not None else None

    def missing_processes(self) -> list[str]:
        """Those that should run and do not."""
        return [name for name in self.names if self.pid(name) is None]

    def family(self, name: str) -> list[psutil.Process]:
        """The process of this name, then its children; nothing if it does not run."""
        with contextlib.suppress(psutil.NoSuchProcess):
            if (pid := self.pid(name)) is not None:
                process = psutil.Process(pid)
                return [process, *process.children(recursive=True)]
        return []

    def kill(self, name: str) -> None:
        """kill -9 of the process and all its children."""
        if (pid := self._await_pid(name)) is not None:
            kill_group(pid)

    def kill_child(self, name: str, chance: random.Random) -> None:
        """kill -9 of one of its children."""
        self._await_pid(name)
        children = self.family(name)[1:]
        if children:
            with contextlib.suppress(psutil.NoSuchProcess):
                chance.choice(children).kill()

    def send(self, name: str, one: signal.Signals) -> None:
        """A signal to the process alone."""
        if (pid := self._await_pid(name)) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, one)

    def freeze(self, name: str) -> None:
        """The process hangs, and its connections with it; nothing is refused."""
        self.send(name, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        if (pid := self.pid(name)) is not None:
            os.kill(pid, signal.SIGCONT)

    def empty(self, name: str) -> None:
        """A Valkey dies and comes back without its data."""
        self.freeze(name)  # so that it writes nothing while its files go
        for path in (self.folder / name / "data").iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.kill(name)

    def _await_pid(self, name: str) -> int | None:
        """Its pid; one that has just died is waited for, as a fault needs something to hit."""
        ends_at = time.monotonic() + 40
        while (pid := self.pid(name)) is None and time.monotonic() < ends_at:
            time.sleep(0.1)
        return pid

    # --- What is asked of it ---

    def prepared(self, *, period: int, people: int) -> dict[str, str]:
        """Runs workers.chaos.prepare inside: a sweep every `period` seconds, and so many users. Name -> password."""
        words = ("-m", "workers.chaos.prepare", "--period", str(period), "--people", str(people))
        done = subprocess.run(
            [sys.executable, *words], cwd=CHECKOUT, env=self._env, capture_output=True, text=True, timeout=120
        )
        if done.returncode != 0:
            raise DidNotStart(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        found: dict[str, str] = json.loads(done.stdout)
        return found

    def exchange_fault(self, **faults: int | bool) -> None:
        """Tells the simulated exchange to go wrong (exchanges.simulator.faults)."""
        answer = requests.post(f"{self.values['SIMULATOR_URL']}/sim/fault", data=json.dumps(faults), timeout=30)
        answer.raise_for_status()

    def mend_exchange(self) -> None:
        requests.delete(f"{self.values['SIMULATOR_URL']}/sim/fault", timeout=30).raise_for_status()

    def wait_for(self, what: str, is_there: Callable[[], object], seconds: float = START_WITHIN) -> None:
        """Raises DidNotStart when it does not come."""
        ends_at = time.monotonic() + seconds
        while not is_there():
            ended = self._supervisor is not None and self._supervisor.poll() is not None
            if ended or time.monotonic() > ends_at:
                raise DidNotStart(f"{what} did not come:\n{self.last_lines()}")
            time.sleep(0.2)

    def keep_logs(self, folder: Path) -> None:
        """Copies what every process said, and the supervisor."""
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(self.folder / "logs", folder, dirs_exist_ok=True)
        shutil.copy(self.folder / "supervisor.out", folder)

    def last_lines(self, number: int = 40) -> str:
        out = self.folder / "supervisor.out"
        return "\n".join(out.read_text(errors="replace").splitlines()[-number:]) if out.exists() else ""

    def _is_up(self) -> bool:
        return bool(re.search(r"^supervisor +\| Boritrader runs", self.last_lines(10_000), re.MULTILINE))


@contextlib.contextmanager
def installed(*, tickers: int) -> Iterator[Installation]:
    """A running installation; all of it is gone afterwards. Raises DidNotStart."""
    with throwaway_folder() as folder:
        installation = Installation(folder, tickers=tickers)
        try:
            installation.start()
            yield installation
        finally:
            installation.stop()


def _ports() -> Iterator[int]:
    """Free ports that stay so while their server is dead: below those that the system gives to outgoing connections."""
    for port in random.sample(range(20_000, 32_000), 12_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            yield port


def _environment(folder: Path, tickers: int) -> dict[str, str]:
    """Nothing that belongs to another installation on this machine: not its stores, secrets, ports or choices."""
    example = (CHECKOUT / ".env.example").read_text()
    known = set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))
    others = {name: value for name, value in os.environ.items() if name not in known}
    return (
        others
        | {name: str(port) for name, port in zip(supervisor.PORTS, _ports(), strict=False)}
        | {
            "RUN_FOLDER": str(folder),
            "DJANGO_SETTINGS_MODULE": SETTINGS,
            "SIMULATOR_TICKERS": str(tickers),
        }
    )
