"""Bringing Postgres and the candle store up to now: at the start, for a new ticker, for a timeframe new in use."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from engine.candles import MINUTE_MS, STORE_SIZE, TIMEFRAMES, Float64s
from exchanges.base import RequestRefused
from market.candles import Block, Key, last_open_times
from market.heartbeat.exchange_clock import ExchangeClock
from market.heartbeat.fetcher import Fetcher
from market.heartbeat.minutes import Minutes
from market.heartbeat.recorder import Recorder
from market.heartbeat.series import Series, build
from market.store import CandleStore

logger = logging.getLogger(__name__)

# Candles of one ticker and timeframe that are fetched at most, after a long time away.
LONGEST_BACKFILL = 5 * STORE_SIZE
CHUNK = 10
CHUNKS_AT_ONCE = 2

Work = Callable[[Sequence[Series], frozenset[str]], Awaitable[None]]


class Backfill:
    """Fetches what Postgres lacks, and nothing else. Candles come from the exchange's own klines; 2m, which it does not
    have, from 1m."""

    def __init__(
        self, fetcher: Fetcher, clock: ExchangeClock, recorder: Recorder, minutes: Minutes, store: CandleStore
    ) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._recorder = recorder
        self._minutes = minutes
        self._store = store
        self.inserted = 0

    async def start(self, series: Sequence[Series], timeframes: Collection[str]) -> None:
        """Gives new (busy) series their history in 1m and `timeframes`, and lets them go on by themselves."""
        await self._in_chunks(series, frozenset(timeframes) - {"1m"}, "history", self._start)

    async def add(self, series: Sequence[Series], timeframes: Collection[str]) -> None:
        """Gives running series more timeframes."""
        await self._in_chunks(series, frozenset(timeframes) - {"1m"}, ", ".join(sorted(timeframes)), self._add)

    async def _in_chunks(self, series: Sequence[Series], timeframes: frozenset[str], what: str, work: Work) -> None:
        chunks = deque(series[start : start + CHUNK] for start in range(0, len(series), CHUNK))
        done = 0

        async def worker() -> None:
            nonlocal done
            while chunks:
                chunk = chunks.popleft()
                await work(chunk, timeframes)
                done += len(chunk)
                logger.info("backfill of %s: %d of %d tickers, %d candles", what, done, len(series), self.inserted)

        await asyncio.gather(*(worker() for _ in range(CHUNKS_AT_ONCE)))

    async def _start(self, chunk: Sequence[Series], timeframes: frozenset[str]) -> None:
        await self._clock.let_rest()
        until, confirmed = self._clock.due, self._clock.confirmed
        known = await self._known(chunk, timeframes | {"1m"})
        fetched = await asyncio.gather(*(self._whole_history(one, timeframes, known, until) for one in chunk))
        await self._write([block for blocks in fetched for block in blocks], chunk, timeframes | {"1m"})
        last = await self._known(chunk, timeframes | {"1m"})
        tails = await self._recorder.persist(self._store.load, [one.ticker_id for one in chunk], "1m")
        for one in chunk:
            minutes = tails[one.ticker_id].rows
            closed = int(minutes[-1, 0]) + MINUTE_MS if len(minutes) else 0
            one.start(minutes, max(closed, min(confirmed, until)), _last_opens(one, timeframes, last))
            self._minutes.release(one)

    async def _add(self, chunk: Sequence[Series], timeframes: frozenset[str]) -> None:
        # Who is busy just now gets it the next time the universe is looked at.
        chunk = [one for one in chunk if not one.is_busy]
        for one in chunk:
            one.is_busy = True
        try:
            known = await self._known(chunk, timeframes)
            fetched = await asyncio.gather(*(self._more_history(one, timeframes, known) for one in chunk))
            await self._write([block for blocks in fetched for block in blocks], chunk, timeframes)
            last = await self._known(chunk, timeframes)
            for one in chunk:
                for timeframe, at in _last_opens(one, timeframes, last).items():
                    one.build(timeframe, at)
        finally:
            for one in chunk:
                self._minutes.release(one)

    async def _whole_history(
        self, series: Series, timeframes: frozenset[str], known: Mapping[Key, float], until: int
    ) -> list[Block]:
        try:
            wanted = ["1m", "2m"] if "2m" in timeframes else ["1m"]
            start = min(_missing_from(known.get((series.ticker_id, name)), name, until) for name in wanted)
            rows = await self._fetcher.klines(series.symbol, "1m", start, until)
            blocks = [Block(series.ticker_id, "1m", rows)]
            return blocks + [
                await self._history(series, timeframe, known, until, rows) for timeframe in sorted(timeframes)
            ]
        except RequestRefused as refusal:
            return self._refused(series, refusal)

    async def _more_history(
        self, series: Series, timeframes: frozenset[str], known: Mapping[Key, float]
    ) -> list[Block]:
        try:
            return [
                await self._history(series, timeframe, known, series.settled, None) for timeframe in sorted(timeframes)
            ]
        except RequestRefused as refusal:
            return self._refused(series, refusal)

    async def _history(
        self, series: Series, timeframe: str, known: Mapping[Key, float], until: int, minutes: Float64s | None
    ) -> Block:
        start = _missing_from(known.get((series.ticker_id, timeframe)), timeframe, until)
        end = _floor(until, timeframe)
        if timeframe != "2m":
            rows = await self._fetcher.klines(series.symbol, timeframe, start, end)
            return Block(series.ticker_id, timeframe, rows)
        if minutes is None:
            minutes = await self._fetcher.klines(series.symbol, "1m", start, end)
        within = (minutes[:, 0] >= start) & (minutes[:, 0] < end)
        return Block(series.ticker_id, timeframe, build(minutes[within], timeframe))

    def _refused(self, series: Series, refusal: RequestRefused) -> list[Block]:
        logger.warning("%s: the exchange refuses its history, going on without it: %s", series.symbol, refusal)
        series.is_refused = True
        return []

    async def _known(self, chunk: Sequence[Series], timeframes: Collection[str]) -> dict[Key, float]:
        return await self._recorder.persist(last_open_times, [one.ticker_id for one in chunk], timeframes)

    async def _write(self, blocks: list[Block], chunk: Sequence[Series], timeframes: Collection[str]) -> None:
        written = await self._recorder.write_history(blocks)
        self.inserted += written.inserted
        keys = [(one.ticker_id, timeframe) for one in chunk for timeframe in timeframes]
        await self._recorder.persist(self._mend, keys)
        self._recorder.keys.update(keys)

    def _mend(self, keys: list[Key]) -> None:
        """Refills what the store lacks, whoever wrote it to Postgres (this process, or one that was killed)."""
        newest = last_open_times({key[0] for key in keys}, {key[1] for key in keys})
        held = self._store.last_open_times(keys)
        self._store.refill([key for key in keys if held.get(key) != newest.get(key)])


def _missing_from(last_open: float | None, timeframe: str, until: int) -> int:
    """The opening instant of the first candle to fetch."""
    length = TIMEFRAMES[timeframe]
    end = _floor(until, timeframe)
    if last_open is None:
        return end - STORE_SIZE * length
    return max(int(last_open) + length, end - LONGEST_BACKFILL * length)


def _floor(instant: int, timeframe: str) -> int:
    return instant // TIMEFRAMES[timeframe] * TIMEFRAMES[timeframe]


def _last_opens(series: Series, timeframes: Collection[str], known: Mapping[Key, float]) -> dict[str, float]:
    return {timeframe: known.get((series.ticker_id, timeframe), 0.0) for timeframe in timeframes}
