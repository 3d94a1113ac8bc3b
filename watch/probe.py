"""A blocking question that any number of visitors may have answered, without ever costing more than one thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connections
from redis import RedisError

T = TypeVar("T")

# Anything else, a permission denied say, is a fault of ours or of the installation, and is logged.
UNREACHABLE = (OperationalError, InterfaceError, RedisError, OSError)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What was found, or why nothing was (in words without addresses: strangers read them). `took` is in seconds."""

    value: T | None
    problem: str
    took: float


class Probe(Generic[T]):
    """Asks `look` in a thread: once at a time, and at most once in `fresh_for` seconds, whoever else asks meanwhile.

    Nobody waits longer than `patience` seconds, even if a store hangs and the thread with it. The thread is a daemon, so
    that a process ends all the same. Belongs to one event loop.
    """

    def __init__(self, look: Callable[[], T], *, patience: float = 2.0, fresh_for: float = 1.0) -> None:
        self._look = look
        self._patience = patience
        self._fresh_for = fresh_for
        self._answer: Answer[T] | None = None
        self._answered_at = 0.0
        self._asked_at = 0.0
        self._running: asyncio.Future[Answer[T]] | None = None

    async def ask(self) -> Answer[T]:
        """The newest answer, or that there is none."""
        now = time.monotonic()
        if self._answer is not None and now - self._answered_at < self._fresh_for:
            return self._answer
        if self._running is None:
            self._asked_at = now
            loop = asyncio.get_running_loop()
            self._running = loop.create_future()
            threading.Thread(target=self._work, args=(loop,), name="probe", daemon=True).start()
        running, asked_at = self._running, self._asked_at
        await asyncio.wait({running}, timeout=max(0.0, self._patience - (now - asked_at)))
        if running.done():
            return running.result()
        waited = time.monotonic() - asked_at
        return Answer(None, f"no answer for {waited:.0f} s", waited)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        started = time.monotonic()
        answer: Answer[T]
        try:
            answer = Answer(self._look(), "", time.monotonic() - started)
        except UNREACHABLE as problem:
            answer = Answer(None, f"no answer ({type(problem).__name__})", time.monotonic() - started)
        except Exception:
            logger.exception("a look at how we are has failed")
            answer = Answer(None, "could not be looked at: see the log", time.monotonic() - started)
        finally:
            with contextlib.suppress(DatabaseError, *UNREACHABLE):
                connections.close_all()  # of this thread
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(self._settle, answer)

    def _settle(self, answer: Answer[T]) -> None:
        self._answer, self._answered_at = answer, time.monotonic()
        running, self._running = self._running, None
        if running is not None and not running.done():
            running.set_result(answer)
