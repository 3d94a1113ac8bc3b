"""The heartbeat's questions to the exchange: few at a time, all of them silent when it says so, asked until answered."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import numpy as np

from engine.candles import TIMEFRAMES, Float64s
from exchanges.base import MarketData, RateLimited, TemporaryError, UnexpectedReply

logger = logging.getLogger(__name__)

T = TypeVar("T")

AT_ONCE = 8
PAGE = 1_000
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds


class Fetcher:
    """Asks one exchange. Every method raises RequestRefused and tries again after any other error, for ever."""

    def __init__(self, exchange: MarketData) -> None:
        self._exchange = exchange
        self._places = asyncio.Semaphore(AT_ONCE)
        self._quiet_until = 0.0
        self.malformed = 0

    async def klines(self, symbol: str, timeframe: str, start: int, until: int) -> Float64s:
        """Every candle that opened at or after `start` and closed at or before `until` (ms): (n, 6), oldest first."""
        length = TIMEFRAMES[timeframe]
        pages = [np.empty((0, 6))]
        while start + length <= until:
            page = await self._until_answered(
                partial(self._exchange.klines, symbol, timeframe, start, until - length, PAGE)
            )
            pages.append(page)
            if len(page) < PAGE:
                break
            start = int(page[-1, 0]) + length
        rows = np.concatenate(pages)
        return rows[rows[:, 0] + length <= until]

    async def server_time_ms(self) -> int:
        """The exchange's clock. One try: an old answer is worth nothing. Raises ExchangeError."""
        await self._wait_while_quiet()
        try:
            return await self._exchange.server_time_ms()
        except RateLimited as limited:
            self._be_quiet(limited)
            raise
        except UnexpectedReply:
            self.malformed += 1
            raise

    async def _until_answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        pause = FIRST_PAUSE
        while True:
            await self._wait_while_quiet()
            try:
                async with self._places:
                    await self._wait_while_quiet()
                    return await ask()
            except RateLimited as limited:
                self._be_quiet(limited)
                continue
            except UnexpectedReply as problem:
                self.malformed += 1
                logger.warning("unexpected reply, asking again in %.1f s: %s", pause, problem)
            except TemporaryError as problem:
                logger.warning("the exchange did not answer, asking again in %.1f s: %s", pause, problem)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _wait_while_quiet(self) -> None:
        left = self._quiet_until - asyncio.get_running_loop().time()
        if left > 0:
            await asyncio.sleep(left)

    def _be_quiet(self, limited: RateLimited) -> None:
        until = asyncio.get_running_loop().time() + limited.retry_after
        if until > self._quiet_until + 0.1:
            self._quiet_until = until
            logger.warning("the exchange wants no request for %.1f s: %s", limited.retry_after, limited)
