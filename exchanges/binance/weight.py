"""How much of Binance's request weight is spent, and the waiting that keeps us below its limit."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping

from exchanges.base import RateLimited

HEADER = "X-MBX-USED-WEIGHT-1M"
# The rest is left to whoever else asks from this address.
SHARE = 0.8
# After the minute has turned: the exchange's clock is not quite ours, and not everybody should come back at once.
MARGIN_SECONDS = 1.0
JITTER_SECONDS = 1.0


class WeightBudget:
    """Counts weight by the minute, believes the exchange's own count, and lets nobody ask during a ban."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.time) -> None:
        self.limit = limit
        self.spent = 0
        self._clock = clock
        self._minute = 0
        self._blocked_until = 0.0
        self._is_ban = False

    def used(self) -> tuple[int, int]:
        """Spent in the current minute, and the limit."""
        self._turn_minute()
        return self.spent, self.limit

    async def spend(self, weight: int) -> None:
        """Waits until a request of this weight may be sent. Raises RateLimited as long as the exchange refuses us."""
        while True:
            self._turn_minute()
            left = self._blocked_until - time.monotonic()
            if left > 0:
                raise RateLimited("the exchange told us to wait", retry_after=left, is_ban=self._is_ban)
            # A single request heavier than the share may go when nothing else was spent.
            if self.spent == 0 or self.spent + weight <= self.limit * SHARE:
                self.spent += weight
                return
            rest_of_minute = 60 - self._clock() % 60
            await asyncio.sleep(rest_of_minute + MARGIN_SECONDS + random.random() * JITTER_SECONDS)

    def observe(self, headers: Mapping[str, str]) -> None:
        """Takes over the exchange's own count from a reply's headers."""
        told = headers.get(HEADER, "")
        if told.isascii() and told.isdecimal():
            self._turn_minute()
            self.spent = max(self.spent, int(told))

    def block(self, seconds: float, *, is_ban: bool) -> None:
        """Lets nobody ask for so long: the exchange answered 429 or 418."""
        self._blocked_until = max(self._blocked_until, time.monotonic() + seconds)
        self._is_ban = is_ban

    def _turn_minute(self) -> None:
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute = minute
            self.spent = 0
