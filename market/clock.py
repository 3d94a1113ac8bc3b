"""The market's clock: the exchange's, as far as the heartbeat has measured it. Slots, freshness and order times use it."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from redis import RedisError

from market.connection import live_store

logger = logging.getLogger(__name__)

_KEY = "market:clock:{exchange}"
_CACHED_FOR = 3.0  # seconds
_cache: dict[str, tuple[float, timedelta]] = {}


def now() -> datetime:
    """The exchange's time: our own clock plus the measured offset (none while nothing is known)."""
    return datetime.now(UTC) + offset()


def offset(exchange: str | None = None) -> timedelta:
    """How far the exchange's clock is ahead of ours, as last measured; zero when unknown. Never raises.

    Asks the live store every few seconds at most; while that is unreachable or empty the last known offset stays.
    """
    exchange = exchange or settings.EXCHANGE
    asked_at, known = _cache.get(exchange, (float("-inf"), timedelta(0)))
    if time.monotonic() - asked_at < _CACHED_FOR:
        return known
    try:
        stored = live_store().get(_KEY.format(exchange=exchange))
        if isinstance(stored, bytes):  # a store that came back empty knows nothing: the last offset stays
            known = timedelta(milliseconds=float(stored))
    except (RedisError, ValueError) as error:
        logger.warning("the offset of the exchange's clock is not to be had (%s)", type(error).__name__)
    _cache[exchange] = (time.monotonic(), known)
    return known


def publish_offset(measured: timedelta, exchange: str) -> None:
    """Tells every process the offset. Raises redis.RedisError."""
    milliseconds = measured / timedelta(milliseconds=1)
    live_store().set(_KEY.format(exchange=exchange), repr(milliseconds))
    _cache[exchange] = (time.monotonic(), measured)


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the exchange's clock. The true offset lies within `error` of `offset`, whatever the network did."""

    offset: float
    error: float

    @classmethod
    def taken(cls, *, asked_ms: float, answered_ms: float, server_ms: float) -> Reading:
        """From our own clock before and after, and the exchange's answer, all in ms since 1970."""
        return cls(server_ms - (asked_ms + answered_ms) / 2, (answered_ms - asked_ms) / 2)

    def agrees_with(self, other: Reading) -> bool:
        """Whether one constant offset explains both. Answers are whole milliseconds, hence the 2 ms."""
        return abs(self.offset - other.offset) <= self.error + other.error + 2


class Offset:
    """The offset out of many readings: that of the quickest round trip, as NTP's clock filter (RFC 5905, 10) picks it.

    A slow round trip is thereby ignored. A reading that contradicts it is believed when the next one contradicts it too:
    then one of the clocks was set. A stepped market's is set at every step.
    """

    def __init__(self, keep: int = 8) -> None:
        self._readings: deque[Reading] = deque(maxlen=keep)
        self._doubted: Reading | None = None

    def add(self, reading: Reading) -> None:
        if self._readings and not reading.agrees_with(self._best):
            if self._doubted is None:
                self._doubted = reading
                return
            self._readings.clear()
            if reading.agrees_with(self._doubted):
                self._readings.append(self._doubted)
        self._doubted = None
        self._readings.append(reading)

    @property
    def _best(self) -> Reading:
        return min(self._readings, key=lambda reading: reading.error)

    @property
    def milliseconds(self) -> float:
        """The exchange's clock minus ours; 0 before the first reading."""
        return self._best.offset if self._readings else 0.0
