"""A child process that is asked and answers, in lines of JSON: the parts of a bench that must not share its process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Self

from workers.processes import die_with_parent
from workers.wheels import CHECKOUT


class Failed(OSError):
    """The other process raised something, or ended. The message is what it said."""


class Dialogue:
    """The parent's end: `ask`, or `tell` and later `answer`. What the child writes to stderr is ours."""

    def __init__(self, module: str, *arguments: str, values: Mapping[str, str]) -> None:
        self._module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=CHECKOUT,
            env={**os.environ, **values, "PROCESS_NAME": "bench"},
            process_group=0,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, verb: str, **arguments: Any) -> Any:
        """The answer to one question. Raises Failed."""
        self.tell(verb, **arguments)
        return self.answer()

    def tell(self, verb: str, **arguments: Any) -> None:
        """Asks without waiting: `answer` gives the answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `answer` notices
            self._process.stdin.write(json.dumps([verb, arguments]).encode() + b"\n")
            self._process.stdin.flush()

    def answer(self) -> Any:
        """The answer to the oldest question that has none yet. Raises Failed."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"{self._module} ended with code {self._process.wait()}; its own words are above")
        answer = json.loads(line)
        if "failed" in answer:
            raise Failed(f"{self._module}: {answer['failed']}")
        return answer["answer"]


def questions() -> Iterator[tuple[str, dict[str, Any]]]:
    """The child's end: what it is asked, until the parent is gone. Each wants one `answer` or `fail`."""
    while line := sys.stdin.readline():
        verb, arguments = json.loads(line)
        yield verb, arguments


def answer(value: Any) -> None:
    _write({"answer": value})


def fail(error: Exception) -> None:
    _write({"failed": f"{type(error).__name__}: {error}"})


def _write(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
