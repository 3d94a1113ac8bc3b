"""A supervisor in a process of its own, read line by line: what it says is what the tests wait for."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from queue import Queue

from workers import supervisor
from workers.wheels import CHECKOUT


def free_ports() -> dict[str, str]:
    """A free port for everything, as an operator's variables."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in supervisor.PORTS]
    chosen = {name: str(one.getsockname()[1]) for name, one in zip(supervisor.PORTS, sockets, strict=True)}
    for one in sockets:
        one.close()
    return chosen


class Running:
    """A supervisor under test, run from `script` with `arguments` in a process of its own."""

    def __init__(self, script: str, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            cwd=CHECKOUT,
            env=None if env is None else dict(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.seen: list[str] = []
        self._lines: Queue[str | None] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self, pattern: str) -> re.Match[str]:
        """The next line that matches."""
        while (line := self._lines.get(timeout=60)) is not None:
            self.seen.append(line)
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"no line matches {pattern!r}:\n" + "\n".join(self.seen))

    def pid_of(self, name: str) -> int:
        return int(self.line(rf"^{name} +\| started, pid (\d+)")[1])

    def end(self, one: signal.Signals = signal.SIGTERM) -> int:
        """Asks for the end; gives the exit code and reads the rest of the lines."""
        self.process.send_signal(one)
        code = self.process.wait(60)
        while (line := self._lines.get(timeout=60)) is not None:
            self.seen.append(line)
        return code
