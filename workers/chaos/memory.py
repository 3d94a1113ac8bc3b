"""How much memory each process takes, over the whole run: RSS in MB, the largest child of a pool for the pool."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections import defaultdict
from dataclasses import dataclass

import psutil

from workers.chaos.installation import Installation

EVERY = 2.0  # seconds
# A process that has just started is still filling its caches.
WARM_AFTER = 20.0


@dataclass(frozen=True, slots=True)
class Usage:
    """One process in MB: in its first warm minute, in the last minute of the run, and at most."""

    name: str
    first: float
    last: float
    most: float
    slope: float  # MB a minute over its longest life
    minutes: float  # how long that was


class Memory:
    """Looks every two seconds from a thread, between `with`."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._lives: dict[str, dict[int, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(EVERY):
            now = time.time()
            for name in self._installation.names:
                for number, process in enumerate(self._installation.family(name)):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        if now - process.create_time() < WARM_AFTER or (number and name == "postgres"):
                            continue
                        role = f"{name}, a child" if number else name
                        self._lives[role][process.pid].append((now, process.memory_info().rss / 2**20))

    def usage(self) -> list[Usage]:
        """Every process that has lived long enough to be judged."""
        return [_usage(role, list(lives.values())) for role, lives in sorted(self._lives.items())]


def _usage(role: str, lives: list[list[tuple[float, float]]]) -> Usage:
    samples = sorted(sample for life in lives for sample in life)
    begins, ends = samples[0][0], samples[-1][0]
    longest = max(lives, key=lambda life: life[-1][0] - life[0][0])
    return Usage(
        role,
        first=statistics.median(mb for at, mb in samples if at <= begins + 60),
        last=statistics.median(mb for at, mb in samples if at >= ends - 60),
        most=max(mb for _, mb in samples),
        slope=_slope(longest),
        minutes=(longest[-1][0] - longest[0][0]) / 60,
    )


def _slope(samples: list[tuple[float, float]]) -> float:
    """MB a minute by least squares; 0 for a life of less than a minute."""
    if samples[-1][0] - samples[0][0] < 60:
        return 0.0
    return statistics.linear_regression([at / 60 for at, _ in samples], [mb for _, mb in samples]).slope
