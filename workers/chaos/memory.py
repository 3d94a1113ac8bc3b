"""How much memory each process takes, over the whole run: RSS in MB, the largest child of a pool for the pool."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from workers.chaos.installation import Installation

EVERY = 2.0  # seconds
# A process that has just started is still loading: it is not looked at.
LOADED_AFTER = 20.0
# One that has run for so long has filled its caches: from then on its growth is judged.
WARM_AFTER = 180.0

Sample = tuple[float, float, float]
"""When (seconds since 1970), how old the process was then (seconds), how large (MB)."""


@dataclass(frozen=True, slots=True)
class Usage:
    """One process in MB: in its first warm minute, in its last one, and at most; while none of its lives was long enough to
    be warm, the first two are the same."""

    name: str
    first: float
    last: float
    most: float
    slope: float  # MB a minute over its longest warm life
    minutes: float  # how long that was


class Memory:
    """Looks every two seconds from a thread, between `with`."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._lives: dict[str, dict[int, list[Sample]]] = defaultdict(lambda: defaultdict(list))
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
                        age = now - process.create_time()
                        if age < LOADED_AFTER or (number and name == "postgres"):
                            continue
                        mb = process.memory_info().rss / 2**20  # before there is a list for it: it may have ended
                        self._lives[f"{name}, a child" if number else name][process.pid].append((now, age, mb))

    def usage(self) -> list[Usage]:
        """Every process that has lived long enough to be looked at."""
        return [usage_of(role, list(lives.values())) for role, lives in sorted(self._lives.items())]


def usage_of(role: str, lives: Sequence[Sequence[Sample]]) -> Usage:
    """What the lives of one process, none of them empty, say of it."""
    everything = [mb for life in lives for _, _, mb in life]
    warm = [found for life in lives if (found := [(at, mb) for at, age, mb in life if age >= WARM_AFTER])]
    if not warm:
        usual = statistics.median(everything)
        return Usage(role, first=usual, last=usual, most=max(everything), slope=0.0, minutes=0.0)
    samples = sorted(sample for life in warm for sample in life)
    begins, ends = samples[0][0], samples[-1][0]
    longest = max(warm, key=lambda life: life[-1][0] - life[0][0])
    return Usage(
        role,
        first=statistics.median(mb for at, mb in samples if at <= begins + 60),
        last=statistics.median(mb for at, mb in samples if at >= ends - 60),
        most=max(everything),
        slope=_slope(longest),
        minutes=(longest[-1][0] - longest[0][0]) / 60,
    )


def _slope(samples: list[tuple[float, float]]) -> float:
    """MB a minute by least squares; 0 for a life of less than a minute."""
    if samples[-1][0] - samples[0][0] < 60:
        return 0.0
    return statistics.linear_regression([at / 60 for at, _ in samples], [mb for _, mb in samples]).slope
