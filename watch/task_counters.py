"""What the workers have done, and when beat last sent something: kept in the live store, where the metrics find it.

A task costs two additions in its own process. What has been added goes to the store once a second at most, by a timer's
thread: one round trip, whatever the number of tasks.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Final, cast

from redis import RedisError

from watch.services import stores

_COUNTS: Final = "watch:tasks"
_MARKS: Final = "watch:marks"
_EVERY: Final = 1.0  # seconds
# A Redis that came back empty starts counting anew, as Prometheus expects of a counter. Names are of our own code.
_SEPARATOR: Final = " "

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """One task since the live store was last empty. `seconds` is what all its runs took together."""

    succeeded: int
    failed: int
    retried: int
    seconds: float


class TaskCounter:
    """Adds up in this process, and hands over what was added. Any thread may call it. One per process: `counter`."""

    def __init__(self, *, every: float = _EVERY) -> None:
        self._every = every
        self._lock = threading.Lock()
        self._added: Counter[str] = Counter()
        self._marks: dict[str, float] = {}
        self._timer: threading.Timer | None = None
        # A child has the memory of its parent, but not its timer.
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._added, self._marks, self._timer = Counter(), {}, None

    def add(self, task: str, state: str, seconds: float = 0.0) -> None:
        """One run of `task` that ended in `state`: succeeded, failed or retried."""
        with self._lock:
            self._added[f"{state}{_SEPARATOR}{task}"] += 1
            # Whole microseconds, so that both are counted by the same command.
            self._added[f"microseconds{_SEPARATOR}{task}"] += round(seconds * 1e6)
            self._plan()

    def mark(self, name: str) -> None:
        """Something has happened just now that is only worth its time."""
        with self._lock:
            self._marks[name] = time.time()
            self._plan()

    def _plan(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(self._every, self.hand_over)
            self._timer.daemon = True
            self._timer.start()

    def hand_over(self) -> None:
        """Adds to the store what was added here. While it is unreachable, that is kept."""
        with self._lock:
            added, marks = self._added, self._marks
            self._added, self._marks, self._timer = Counter(), {}, None
        try:
            with stores.live().pipeline(transaction=False) as pipe:
                for name, number in added.items():
                    pipe.hincrby(_COUNTS, name, number)
                for name, at in marks.items():
                    pipe.hset(_MARKS, name, repr(at))
                pipe.execute()
        except RedisError as problem:
            logger.warning("the counts of tasks are not handed over (%s)", type(problem).__name__)
            with self._lock:
                self._added.update(added)


def read_counts() -> dict[str, TaskCounts]:
    """Task name -> what all workers counted. Raises redis.RedisError."""
    held = cast("dict[bytes, bytes]", stores.live().hgetall(_COUNTS))
    found: dict[str, dict[str, int]] = {}
    for name, number in held.items():
        state, _, task = name.decode().partition(_SEPARATOR)
        found.setdefault(task, {})[state] = int(number)
    return {
        task: TaskCounts(
            states.get("succeeded", 0),
            states.get("failed", 0),
            states.get("retried", 0),
            states.get("microseconds", 0) / 1e6,
        )
        for task, states in found.items()
    }


def last_mark(name: str) -> float | None:
    """When it last happened (seconds since 1970), if that is known. Raises redis.RedisError."""
    held = stores.live().hget(_MARKS, name)
    return float(held) if isinstance(held, bytes) else None


counter = TaskCounter()
