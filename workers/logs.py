"""What the supervised processes say: each line with its process's name, on the terminal and in a rotated file."""

from __future__ import annotations

import contextlib
import logging
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

_COLOURS = ("36", "32", "33", "35", "34", "96", "92", "93", "95", "94")
_NAME_WIDTH = 14
_FILE_BYTES, _FILES = 10_000_000, 3


class ProcessLog:
    """One process's output: bytes as they come in, whole lines out. `colour` counts the processes."""

    def __init__(self, name: str, folder: Path, out: TextIO, *, colour: int) -> None:
        label = f"{name:<{_NAME_WIDTH}} |"
        self._label = f"\x1b[{_COLOURS[colour % len(_COLOURS)]}m{label}\x1b[0m" if out.isatty() else label
        self._name = name
        self._out = out
        self._unfinished = b""
        self._file = RotatingFileHandler(
            folder / f"{name}.log", maxBytes=_FILE_BYTES, backupCount=_FILES, encoding="utf-8", delay=True
        )
        formatter = logging.Formatter("%(asctime)s %(message)s")
        formatter.converter = time.gmtime
        self._file.setFormatter(formatter)

    def feed(self, data: bytes) -> None:
        """Prints the lines that are whole now; the rest waits for its end."""
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        for line in lines:
            self.line(line.decode(errors="replace").rstrip("\r"))

    def finish(self) -> None:
        """The process has ended: prints what it left without a line end."""
        if self._unfinished:
            self.feed(b"\n")

    def line(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal was closed, or `make run | head`: the file has it
            print(f"{self._label} {text}", file=self._out, flush=True)
        self._file.emit(logging.makeLogRecord({"name": self._name, "msg": text}))

    def close(self) -> None:
        self._file.close()
