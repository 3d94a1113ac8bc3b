"""The shared first step of `make run` and `make test`: what they need, installed where it is missing or has changed.

Run with the system's Python, 3.11 or newer; standard library only. Idempotent: a second run looks at a few checksums
and is over. Python packages come from the hash-locked requirements into `.venv`, JavaScript ones from the lock file
into `node_modules`, the bundle goes to `dashboard/static/bundle`.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 20
_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SOURCES = "dashboard/static_src"
_BUNDLE = "dashboard/static/bundle"


class SetupFailed(Exception):
    """The machine lacks something, or an installer failed. The message says what to do."""


# --- Words on the terminal --------------------------------------------------------------------------------------------


def say(text: str) -> None:
    sys.stdout.write(f"setup: {text}\n")
    sys.stdout.flush()


def step(what: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
    """Runs one installer, saying what it does and for how long. Raises SetupFailed with its last lines."""
    say(f"{what} ...")
    began = told = time.monotonic()
    with tempfile.TemporaryFile() as output:
        with subprocess.Popen(
            argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as process:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = process.wait(1)
                    break
                now = time.monotonic()
                if now - told >= 10:
                    told = now
                    say(f"{what} ... {now - began:.0f} s")
        output.seek(0)
        lines = output.read().decode(errors="replace").splitlines()
    if code != 0:
        raise SetupFailed("\n".join([*lines[-30:], "", f"Failed: {what} (the command was: {' '.join(argv)})"]))
    say(f"{what}: done in {time.monotonic() - began:.1f} s")


# --- What has changed since last time ---------------------------------------------------------------------------------


def checksum(*paths: Path, extra: str = "") -> str:
    """One digest of these files, and of all files in these folders: their names and contents, and `extra`."""
    digest = hashlib.sha256(extra.encode())
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                content = file.read_bytes()
                digest.update(f"\0{file.relative_to(ROOT)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


@contextlib.contextmanager
def unless_done(stamp: Path, digest: str) -> Iterator[bool]:
    """Gives whether there is work to do; remembers it as done when the block ends without an error."""
    is_done = stamp.is_file() and stamp.read_text() == digest
    if not is_done:
        stamp.unlink(missing_ok=True)  # half done is not done
    yield not is_done
    if not is_done:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(digest)


# --- Python -----------------------------------------------------------------------------------------------------------


def require_python() -> None:
    """Goes on under a newer Python of this machine if this one is too old. Raises SetupFailed if there is none."""
    if sys.version_info >= OLDEST_PYTHON:
        return
    for minor in range(14, OLDEST_PYTHON[1] - 1, -1):
        newer = shutil.which(f"python3.{minor}")
        if newer:
            os.execv(newer, [newer, *sys.argv])  # noqa: S606
    here = ".".join(map(str, sys.version_info[:3]))
    raise SetupFailed(f"Boritrader needs Python 3.11 or newer; this is {here} ({sys.executable}). Install a newer one.")


def make_venv(venv: Path) -> None:
    """Makes `.venv` unless a working one is there."""
    if (venv / "bin" / "python").exists() and any(venv.glob("lib/python3*/site-packages/pip")):
        return
    if importlib.util.find_spec("ensurepip") is None:  # Debian keeps it in a package of its own
        install_from_debian("python3-venv", why="Python's venv module")
    step("making .venv", [sys.executable, "-m", "venv", "--clear", str(venv)])


def install_python_packages(venv: Path, *, with_tests: bool) -> None:
    names = ["requirements.txt", *(["requirements-dev.txt"] if with_tests else [])]
    files = [ROOT / name for name in names]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stamp = venv / f"installed-{'tests' if with_tests else 'run'}"
    with unless_done(stamp, checksum(*files, extra=version)) as is_needed:
        if is_needed:
            chosen = [argument for name in names for argument in ("-r", name)]
            count = sum(text.count("==") for text in (file.read_text() for file in files))
            pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--require-hashes", "--no-input"]
            step(
                f"installing {count} Python packages",
                [*pip, "--disable-pip-version-check", "--progress-bar=off", *chosen],
            )


# --- JavaScript -------------------------------------------------------------------------------------------------------


def build_bundle(venv: Path) -> None:
    """Installs the locked JavaScript packages and bundles the pages' modules. Node is looked for only if needed."""
    locks = [ROOT / "package.json", ROOT / "package-lock.json", ROOT / ".npmrc"]
    packages = checksum(*locks)
    with unless_done(ROOT / "node_modules" / ".installed", packages) as is_needed:
        if is_needed:
            npm, env = find_npm(venv)
            install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            step("installing JavaScript packages", install, env=env)
    sources = checksum(ROOT / _SOURCES, extra=packages)
    with unless_done(ROOT / _BUNDLE / ".built", sources) as is_needed:
        if is_needed:
            npm, env = find_npm(venv)
            shutil.rmtree(ROOT / _BUNDLE, ignore_errors=True)
            step("bundling JavaScript", [npm, "run", "build"], env=env)


def find_npm(venv: Path) -> tuple[str, dict[str, str]]:
    """npm and the environment to run it in: the machine's if its Node is new enough, else one from a Python wheel."""
    env = {**os.environ, "npm_config_update_notifier": "false"}
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _node_version(node) >= OLDEST_NODE:
        return npm, env
    folder = venv / "node"
    lock = ROOT / "requirements-node.txt"
    with unless_done(folder / "installed", checksum(lock)) as is_needed:
        if is_needed:
            step("making a folder for Node", [sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)])
            pip = [str(venv / "bin" / "python"), "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
            step(f"installing Node (no Node {OLDEST_NODE} or newer here)", [*pip, "--require-hashes", "-r", str(lock)])
            for name in ("node", "npm"):  # for the tests, which find `.venv/bin` on their PATH
                link = venv / "bin" / name
                link.unlink(missing_ok=True)
                link.symlink_to(folder / "bin" / name)
    # It knows no certificates of the system's: what NODE_EXTRA_CA_CERTS names is passed on with the environment.
    return str(folder / "bin" / "npm"), {**env, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}


def _node_version(node: str) -> int:
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False)
    major = answer.stdout.strip().lstrip("v").split(".")[0]
    return int(major) if major.isdecimal() else 0


# --- The machine ------------------------------------------------------------------------------------------------------


def require_chromium() -> None:
    """The browser tests drive Chromium. Raises SetupFailed, saying how to install it, where we cannot."""
    if os.environ.get("CHROMIUM") or any(shutil.which(name) for name in _CHROMIUMS):
        return
    install_from_debian("chromium", why="Chromium, which the browser tests drive")


def install_from_debian(package: str, *, why: str) -> None:
    """Installs a package of the system as root on Debian or Ubuntu; elsewhere raises SetupFailed with what to do."""
    apt = shutil.which("apt-get")
    if not apt or os.geteuid() != 0:
        raise SetupFailed(f"{why} is missing. Install it, for example: sudo apt-get install {package}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    step("refreshing the system's package list", [apt, "update"], env=env)
    step(f"installing {package}", [apt, "install", "--yes", "--no-install-recommends", package], env=env)


def main() -> int:
    parser = argparse.ArgumentParser(description="Installs what Boritrader needs; quick when nothing has changed.")
    parser.add_argument("--tests", action="store_true", help="also what the tests and the linters need")
    arguments = parser.parse_args()
    began = time.monotonic()
    try:
        require_python()
        # One at a time: `make run` and `make test` may start together.
        here = os.open(ROOT, os.O_RDONLY)
        fcntl.flock(here, fcntl.LOCK_EX)
        make_venv(ROOT / ".venv")
        install_python_packages(ROOT / ".venv", with_tests=arguments.tests)
        build_bundle(ROOT / ".venv")
        # The web server looks for it at every start, though only containers collect files into it.
        (ROOT / "staticfiles").mkdir(exist_ok=True)
        if arguments.tests:
            require_chromium()
    except SetupFailed as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    say(f"ready ({time.monotonic() - began:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
