"""The exchange's clock as the heartbeat reads it: which minutes have closed, and for how long we have known."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from engine.candles import MINUTE_MS
from market.clock import Offset, Reading
from market.heartbeat.fetcher import Fetcher
from market.heartbeat.timings import Timings

# A clock that ran ahead by more than this since the last look is looked at twice before anybody believes it.
STRIDE_MS = 90_000


class ExchangeClock:
    """`due` is the close of the newest minute that has closed for certain (ms since 1970 UTC; 0 before the first look).

    It comes from what the exchange itself said, never from an estimate: a candle that still forms must not pass for a
    closed one.
    """

    def __init__(self, fetcher: Fetcher, timings: Timings) -> None:
        self._fetcher = fetcher
        self._timings = timings
        self._looking = asyncio.Lock()
        self._offset = Offset()
        self._server_ms = 0
        self._looked_at = float("-inf")
        self._due_since = float("-inf")
        self._confirmed = 0
        self.due = 0

    @property
    def offset(self) -> timedelta:
        """The exchange's clock minus ours."""
        return timedelta(milliseconds=self._offset.milliseconds)

    @property
    def due_for(self) -> float:
        """For how many seconds we have known that the newest minute closed."""
        return time.monotonic() - self._due_since

    @property
    def confirmed(self) -> int:
        """Minutes before this instant closed long enough ago: what REST does not have of them, the exchange has not."""
        return self.due if self.due_for >= self._timings.confirm else self._confirmed

    @property
    def is_look_wanted(self) -> bool:
        """Whether another minute should have closed by now, or the last look was long ago."""
        age = time.monotonic() - self._looked_at
        return age >= self._timings.clock_every or self._server_ms + age * 1000 >= self.due + MINUTE_MS

    async def look(self) -> None:
        """Asks the exchange. Raises ExchangeError."""
        async with self._looking:
            await self._look()

    async def reach(self, instant: int) -> bool:
        """Whether the exchange's clock has reached an instant; asks only if that is not known yet. Raises ExchangeError."""
        async with self._looking:
            if self.due < instant:
                await self._look()
        return self.due >= instant

    async def let_rest(self) -> None:
        """Returns when the newest closed minute is old enough to be asked for."""
        await asyncio.sleep(max(0.0, self._timings.rest - self.due_for))

    async def _look(self) -> None:
        server_ms = await self._read()
        expected = self._server_ms + (time.monotonic() - self._looked_at) * 1000
        if self._server_ms and server_ms - expected > STRIDE_MS:
            server_ms = min(server_ms, await self._read())
        self._server_ms, self._looked_at = server_ms, time.monotonic()
        closed = server_ms // MINUTE_MS * MINUTE_MS
        if closed > self.due:
            self._confirmed = self.due or closed - MINUTE_MS
            self.due, self._due_since = closed, time.monotonic()

    async def _read(self) -> int:
        asked_ms = time.time() * 1000
        server_ms = await self._fetcher.server_time_ms()
        self._offset.add(Reading.taken(asked_ms=asked_ms, answered_ms=time.time() * 1000, server_ms=server_ms))
        return server_ms
