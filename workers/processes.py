"""Operating-system processes: who is who, how one ends, and children that do not outlive their parent.

Standard library only: the supervisor and the embedded stores need it before anything else is known to work.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_PR_SET_PDEATHSIG = 1
# Loaded here, not between fork and exec, where only little may be done.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def identity(pid: int) -> str | None:
    """What tells process `pid` from every other that ever had or will have this number; None if it does not run.

    A zombie does not run: its number is only kept until somebody asks how it ended.
    """
    stat = Path(f"/proc/{pid}/stat")
    if sys.platform == "linux":
        try:
            # The command's name may hold spaces and brackets; the fields after the last bracket cannot.
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, started = fields[0], fields[19]
        return None if state in "ZX" else f"{_boot()} {started}"
    answer = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=5, check=False
    )
    state, _, started = answer.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else " ".join(started.split())


def _boot() -> str:
    """This boot of the machine: start times count from it, so they repeat after the next."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def die_with_parent(with_signal: signal.Signals) -> Callable[[], None] | None:
    """For `Popen(preexec_fn=)`: the kernel sends the child `with_signal` when the thread that started it ends.

    None where the system cannot (macOS): there the pid files of the next start clean up.
    """
    if _LIBC is None:
        return None
    libc, parent = _LIBC, os.getpid()

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return arm


def end(pid: int, *, signals: tuple[tuple[signal.Signals, float], ...]) -> bool:
    """Ends process `pid`: each signal in turn, and how many seconds it may take. True if it ended.

    The signals go to it alone, since it knows the good order for its children; those it leaves (it leads a process
    group) are killed. For processes that are not our children: those are waited for by their `Popen`.
    """
    for one, seconds in signals:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, one)
        if any(identity(pid) is None for _ in ticks(seconds)):
            kill_group(pid)
            return True
    return False


def kill_group(pid: int) -> None:
    """Kills what is left of the process group that `pid` leads or led. Nothing left is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
        os.killpg(pid, signal.SIGKILL)


def ticks(seconds: float, *, every: float = 0.02) -> Iterator[None]:
    """Yields at once and then every `every` seconds until `seconds` are over: for `any(... for _ in ticks(5))`."""
    ends_at = time.monotonic() + seconds
    yield
    while time.monotonic() < ends_at:
        time.sleep(every)
        yield


class PidFile:
    """Remembers one process on disk, so that a successor of a killed program can end what it left behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, pid: int) -> None:
        """Remembers `pid`. A process that has already ended is remembered as nobody."""
        started = identity(pid)
        if started is None:
            self.remove()
            return
        # Renamed into place: a reader never sees half a line.
        half = self.path.with_name(self.path.name + ".new")
        half.write_text(f"{pid} {started}\n")
        half.replace(self.path)

    def running(self) -> int | None:
        """The pid, if the very process that was remembered still runs; never a stranger with the same number."""
        try:
            pid, _, started = self.path.read_text().strip().partition(" ")
        except FileNotFoundError:
            return None
        return int(pid) if pid.isdigit() and identity(int(pid)) == started else None

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
