"""Keeps programs running: starts them, shows what they say, starts again what ends, ends all of them together.

Standard library only, one thread: a child's parent-death signal belongs to the thread that started it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TextIO

from workers.logs import ProcessLog
from workers.processes import PidFile, die_with_parent, end, kill_group

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # seconds before a program that ended is started again
STEADY_AFTER = 60.0  # seconds of running after which earlier ends are forgotten
_TURN = 0.2  # seconds between two looks at everything


class AlreadyRunning(Exception):
    """Another supervisor holds this folder. Use that one, or stop it first."""


class StopRequested(Exception):
    """Somebody asked for the end (Ctrl-C, SIGTERM): leave, and everything is ended."""


class ProgramFailed(Exception):
    """A program that had to succeed, or to become ready, did not. The lines it wrote say why."""


@dataclass(frozen=True)
class Program:
    """Something to keep running. `launch` starts it with its output going to the given file descriptor.

    `stage`: all of stage 1 have ended before stage 2 is asked to. `ending`: the signals that ask, in their order, and
    how many seconds each may take.
    """

    name: str
    launch: Callable[[int], subprocess.Popen[bytes]]
    stage: int = 1
    ending: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 1.0))


def command(name: str, *argv: str, env: Mapping[str, str], folder: Path) -> Program:
    """A program that is a command line, run in `folder` with the environment `env` and no input."""

    def launch(output: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(env),
            # Ctrl-C on the terminal reaches the supervisor alone; the end comes in order, and to a whole group.
            process_group=0,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )

    return Program(name, launch)


def next_delay(previous: float, *, ran_for: float) -> float:
    """Seconds to wait before a program that ended after `ran_for` seconds is started again."""
    if previous == 0.0 or ran_for >= STEADY_AFTER:
        return FIRST_DELAY
    return min(previous * 2, LONGEST_DELAY)


@dataclass
class _Kept:
    """One program under supervision: its process, or when the next one is due."""

    program: Program
    log: ProcessLog
    pid_file: PidFile
    process: subprocess.Popen[bytes] | None = None
    output: int | None = None
    is_once: bool = False
    started: float = 0.0
    due: float | None = 0.0
    delay: float = 0.0
    ends: int = 0
    asked_to_end: list[tuple[signal.Signals, float]] = field(default_factory=list)


class Supervisor:
    """`with Supervisor(folder) as supervisor:` keep programs, run commands, wait. Leaving ends every one of them.

    `folder` holds the lock, the pid files and the logs. Entering ends what a killed predecessor left behind; it
    raises AlreadyRunning if one is alive. `run`, `wait_until` and `wait` raise StopRequested on SIGINT and SIGTERM.
    """

    def __init__(self, folder: Path, *, out: TextIO = sys.stdout) -> None:
        self._folder = folder
        self._out = out
        self._kept: dict[str, _Kept] = {}
        self._chores: list[tuple[float, Callable[[], bool], list[float]]] = []
        self._selector = selectors.DefaultSelector()
        self._cleanup = contextlib.ExitStack()
        self._stop_asked: float | None = None
        self._is_impatient = False
        self._log: ProcessLog

    def __enter__(self) -> Supervisor:
        with contextlib.ExitStack() as cleanup:
            for name in ("pids", "logs"):
                (self._folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_lock(cleanup)
            self._log = self._open_log("supervisor")
            cleanup.callback(self._log.close)
            self._listen_to_signals(cleanup)
            cleanup.callback(self._selector.close)
            self._end_predecessors()
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._end_all()
        finally:
            self._cleanup.close()

    # --- What the owner of the supervisor calls ---

    def keep(self, program: Program) -> None:
        """Starts `program` now and again whenever it ends, until the end of everything."""
        self._kept[program.name] = kept = self._new(program)
        self._start(kept)

    def run(self, program: Program) -> None:
        """Runs `program` once, to its end. Raises ProgramFailed if that is not code 0."""
        self._kept[program.name] = kept = self._new(program)
        kept.is_once = True
        self._start(kept)
        while kept.process is not None and kept.process.poll() is None:
            self._turn()
            self._raise_if_asked()
        code = self._bury(kept)
        del self._kept[program.name]
        kept.log.close()
        if code != 0:
            raise ProgramFailed(f"{program.name} ended with {_say(code)}; what it said is above")

    def wait_until(self, name: str, is_ready: Callable[[], bool], *, timeout: float) -> None:
        """Waits until the kept program `name` is ready. Raises ProgramFailed if it ends three times, or is late."""
        ends_at = time.monotonic() + timeout
        while not is_ready():
            self._turn()
            self._raise_if_asked()
            if self._kept[name].ends >= 3 or time.monotonic() > ends_at:
                raise ProgramFailed(f"{name} did not become ready; what it said is above")

    def every(self, seconds: float, chore: Callable[[], bool]) -> None:
        """Calls `chore` about every so many seconds until it answers True. It must be quick: nothing else runs."""
        self._chores.append((seconds, chore, [time.monotonic()]))

    def wait(self) -> None:
        """Keeps everything running until somebody asks for the end: then raises StopRequested."""
        while True:
            self._turn()
            self._raise_if_asked()

    def kill(self, name: str, *, because: str) -> None:
        """Kills the kept program `name` with all its children; it is started again as after any end."""
        kept = self._kept[name]
        if kept.process is not None:
            self.say(f"killing {name} (pid {kept.process.pid}): {because}")
            kill_group(kept.process.pid)

    def started_at(self, name: str) -> float:
        """The monotonic time at which `name` was last started."""
        return self._kept[name].started

    def say(self, text: str) -> None:
        """A line of the supervisor's own."""
        self._log.line(text)

    # --- One turn of the loop ---

    def _turn(self) -> None:
        for key, _ in self._selector.select(_TURN):
            key.data()
        now = time.monotonic()
        for kept in self._kept.values():
            if kept.process is not None:
                if not kept.is_once and kept.process.poll() is not None:
                    self._note_end(kept, kept.process.returncode)
            elif kept.due is not None and now >= kept.due:
                self._start_again(kept)
        for chore in list(self._chores):
            seconds, call, due = chore
            if now >= due[0]:
                due[0] = now + seconds
                if call():
                    self._chores.remove(chore)

    def _start_again(self, kept: _Kept) -> None:
        kept.started = time.monotonic()
        try:
            self._start(kept)
        except OSError as problem:  # no memory for one more process, say: that passes
            kept.log.line(f"could not be started: {problem}")
            self._plan_next_start(kept)

    def _start(self, kept: _Kept) -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        try:
            kept.process = kept.program.launch(writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        kept.output, kept.started, kept.due = reading, time.monotonic(), None
        kept.pid_file.write(kept.process.pid)
        self._selector.register(reading, selectors.EVENT_READ, lambda: self._read(kept))
        kept.log.line(f"started, pid {kept.process.pid}")

    def _read(self, kept: _Kept) -> None:
        if kept.output is None:
            return
        try:
            data = os.read(kept.output, 65536)
        except BlockingIOError:
            return
        if data:
            kept.log.feed(data)
        else:
            self._close_output(kept)

    def _close_output(self, kept: _Kept) -> None:
        if kept.output is not None:
            self._selector.unregister(kept.output)
            os.close(kept.output)
            kept.output = None
        kept.log.finish()

    def _note_end(self, kept: _Kept, code: int) -> None:
        self._bury(kept)
        kept.ends += 1
        self._plan_next_start(kept)
        self.say(f"{kept.program.name} ended with {_say(code)}; starting it again in {kept.delay:g} s")

    def _plan_next_start(self, kept: _Kept) -> None:
        now = time.monotonic()
        kept.delay = next_delay(kept.delay, ran_for=now - kept.started)
        kept.due = now + kept.delay

    def _bury(self, kept: _Kept) -> int:
        """After its end: nothing of it stays, neither children nor unread lines nor the pid file. Gives its code."""
        assert kept.process is not None
        code = kept.process.wait()
        kill_group(kept.process.pid)  # children it left: a pool whose master was killed
        while kept.output is not None:
            before = kept.output
            try:
                data = os.read(before, 65536)
            except BlockingIOError:
                data = b""
            if data:
                kept.log.feed(data)
            else:
                self._close_output(kept)
        kept.process = None
        kept.pid_file.remove()
        return code

    # --- The end ---

    def _raise_if_asked(self) -> None:
        if self._stop_asked is not None:
            raise StopRequested

    def _end_all(self) -> None:
        """Ends stage after stage."""
        self._chores.clear()
        for kept in self._kept.values():
            kept.due = None
        if any(kept.process is not None for kept in self._kept.values()):
            self.say("stopping")
        for stage in sorted({kept.program.stage for kept in self._kept.values()}):
            self._end_stage([kept for kept in self._kept.values() if kept.program.stage == stage])
        for kept in self._kept.values():
            kept.log.close()

    def _end_stage(self, stage: list[_Kept]) -> None:
        for kept in stage:
            kept.asked_to_end = list(kept.program.ending)
        next_at = dict.fromkeys((kept.program.name for kept in stage), 0.0)
        while running := [kept for kept in stage if kept.process is not None]:
            now = time.monotonic()
            for kept in running:
                assert kept.process is not None
                if self._is_impatient:
                    kill_group(kept.process.pid)
                elif now >= next_at[kept.program.name] and kept.asked_to_end:
                    one, seconds = kept.asked_to_end.pop(0)
                    next_at[kept.program.name] = now + seconds
                    kept.process.send_signal(one)
            for key, _ in self._selector.select(0.05):
                key.data()
            for kept in running:
                if kept.process is not None and kept.process.poll() is not None:
                    kept.log.line("ended")
                    self._bury(kept)

    # --- The beginning ---

    def _take_lock(self, cleanup: contextlib.ExitStack) -> None:
        lock = cleanup.enter_context((self._folder / "lock").open("a+"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise AlreadyRunning(lock.read().strip() or "unknown") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()

    def _listen_to_signals(self, cleanup: contextlib.ExitStack) -> None:
        """A signal is a byte in a socket of the selector: it ends the select at once."""
        reading, writing = socket.socketpair()
        for side in (reading, writing):
            side.setblocking(False)
            cleanup.callback(side.close)
        old = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        cleanup.callback(signal.set_wakeup_fd, old)
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            handler = _ignore if one is signal.SIGCHLD else self._note_stop
            cleanup.callback(signal.signal, one, signal.signal(one, handler))
        self._selector.register(reading, selectors.EVENT_READ, lambda: reading.recv(4096))

    def _note_stop(self, _number: int, _frame: FrameType | None) -> None:
        """A second Ctrl-C kills what is left. Not within a second: `make` passes on what the terminal sent as well."""
        now = time.monotonic()
        if self._stop_asked is None:
            self._stop_asked = now
        elif now - self._stop_asked > 1:
            self._is_impatient = True

    def _end_predecessors(self) -> None:
        """Ends the processes of a supervisor that was killed. A stranger with a remembered number is left alone."""
        files = [PidFile(path) for path in sorted((self._folder / "pids").iterdir())]
        left = {file.path.name: pid for file in files if (pid := file.running()) is not None}
        for name, pid in left.items():
            self.say(f"ending {name} (pid {pid}), left behind by a run that was killed")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)  # all at once, so that the waits below overlap
        ends_at = time.monotonic() + 5
        for pid in left.values():
            end(pid, signals=((signal.SIGTERM, max(ends_at - time.monotonic(), 0)), (signal.SIGKILL, 5.0)))
        for file in files:
            file.remove()

    def _new(self, program: Program) -> _Kept:
        return _Kept(program, self._open_log(program.name), PidFile(self._folder / "pids" / program.name))

    def _open_log(self, name: str) -> ProcessLog:
        return ProcessLog(name, self._folder / "logs", self._out, colour=len(self._kept))


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """SIGCHLD only has to end the select."""


def _say(code: int) -> str:
    return f"code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
