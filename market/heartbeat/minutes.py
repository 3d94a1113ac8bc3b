"""Every followed ticker's minutes: from the stream in order, from REST where the stream has a gap or is late."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable
from typing import Any

import numpy as np

from engine.candles import MINUTE_MS, TIMEFRAMES, Float64s
from exchanges.base import ExchangeError, KlineEvent, RequestRefused
from market.candles import Block
from market.heartbeat.exchange_clock import ExchangeClock
from market.heartbeat.fetcher import Fetcher
from market.heartbeat.recorder import Recorder
from market.heartbeat.series import Row, Series
from market.heartbeat.timings import Timings

logger = logging.getLogger(__name__)

DAY_MS = 1_440 * MINUTE_MS


class Minutes:
    """All series by symbol. Whatever is wrong with one ticker costs that ticker."""

    def __init__(self, fetcher: Fetcher, clock: ExchangeClock, recorder: Recorder, timings: Timings) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._recorder = recorder
        self._timings = timings
        self._tasks: set[asyncio.Task[None]] = set()
        self.series: dict[str, Series] = {}
        self.fetched = 0
        self.malformed = 0

    def take(self, event: KlineEvent) -> None:
        """Takes an event of the stream; of one that is still forming only the existence matters."""
        series = self.series.get(event.symbol)
        if not event.is_closed or series is None:
            return
        if event.open_time % MINUTE_MS or event.open_time > max(self._clock.due, series.settled) + DAY_MS:
            self.malformed += 1
            return
        row = (float(event.open_time), event.open, event.high, event.low, event.close, event.volume)
        if not series.is_busy and event.open_time < series.settled:
            self._compare(series, row)
        elif series.wait(row) and not series.is_busy:
            if event.open_time == series.settled:
                self._recorder.add(series.ticker_id, series.drain(), series.settled)
            else:
                self.catch_up_soon(series)

    def release(self, series: Series) -> None:
        """Lets a series go on by itself after it was busy."""
        series.is_busy = False
        blocks = series.drain()
        for row in series.take_outdated().tolist():
            self._compare(series, tuple(row))
        self._recorder.add(series.ticker_id, blocks, series.settled)

    def catch_up(self, symbols: Iterable[str]) -> None:
        """These may have missed something: fetches what closed since they are settled."""
        wanted = [series for symbol in symbols if (series := self.series.get(symbol)) and not series.is_busy]
        self._start(self._catch_up_after_look(wanted))

    def sweep(self) -> None:
        """Fetches for every ticker whose newest minute should have come by now."""
        now = time.monotonic()
        late = [
            series
            for series in self.series.values()
            if series.settled < self._clock.due
            and not (series.is_busy or series.is_refused)
            and now >= series.ask_again_at
        ]
        if late:
            logger.info("%d of %d tickers are late, asking the exchange for them", len(late), len(self.series))
        for series in late:
            self.catch_up_soon(series)

    def catch_up_soon(self, series: Series) -> None:
        """Fetches what is missing before what waits."""
        series.is_busy = True
        self._start(self._catch_up(series))

    def progress(self, timeframes: Iterable[str], *, has_begun: bool) -> tuple[dict[str, int], list[int]]:
        """The watermarks, and the ids of the tickers that are late.

        There are none before every ticker is backfilled; once it `has_begun`, a ticker that joins holds nobody back.
        """
        waited_for = [
            series
            for series in self.series.values()
            if not series.is_refused and not (has_begun and series.ticker_id not in self._recorder.stored)
        ]
        stored = {series.ticker_id: self._recorder.stored.get(series.ticker_id, 0) for series in waited_for}
        least = min(stored.values(), default=0)
        # The stream may be ahead of our last look at the exchange's clock.
        newest = max(self._clock.due, *stored.values(), 0)
        late = [ticker_id for ticker_id, until in stored.items() if until < newest]
        if not least:
            return {}, late
        built = set.intersection(*(series.timeframes for series in waited_for)) | {"1m"}
        return {name: least // TIMEFRAMES[name] * TIMEFRAMES[name] for name in timeframes if name in built}, late

    def cancel(self) -> None:
        """Ends all fetching."""
        for task in self._tasks:
            task.cancel()

    async def _catch_up_after_look(self, wanted: list[Series]) -> None:
        try:
            await self._clock.look()
        except ExchangeError as problem:
            logger.warning("the exchange's clock did not answer: %s", problem)
        for series in wanted:
            if series.settled < self._clock.due and not series.is_busy:
                self.catch_up_soon(series)

    async def _catch_up(self, series: Series) -> None:
        try:
            newest = series.newest_waiting
            if newest is not None and not await self._clock.reach(newest + MINUTE_MS):
                # Closed, says the stream, but the exchange's clock is not there yet.
                self.malformed += series.drop_waiting_from(self._clock.due)
            await self._clock.let_rest()
            until, confirmed = self._clock.due, self._clock.confirmed
            if until > series.settled:
                rows = await self._fetcher.klines(series.symbol, "1m", series.settled, until)
                self._settle(series, rows, until, confirmed)
        except RequestRefused as refusal:
            logger.warning("%s: the exchange refuses to give candles, going on without it: %s", series.symbol, refusal)
            series.is_refused = True
        except ExchangeError as problem:
            logger.warning("%s: candles not fetched: %s", series.symbol, problem)
        finally:
            self.release(series)
            wait = self._timings.confirm - self._clock.due_for
            series.ask_again_at = time.monotonic() + (wait if wait > 0 else self._timings.rest)

    def _settle(self, series: Series, rows: Float64s, until: int, confirmed: int) -> None:
        """Everything before the newest candle is accounted for; what should follow it may only be late."""
        newest = [confirmed]
        if len(rows):
            newest.append(int(rows[-1, 0]) + MINUTE_MS)
        if series.newest_waiting is not None:
            newest.append(series.newest_waiting + MINUTE_MS)
        settled = min(max(newest), until)
        self.fetched += len(rows)
        self._recorder.add(series.ticker_id, series.settle(rows, settled), max(settled, series.settled))

    def _compare(self, series: Series, row: Row) -> None:
        if not series.is_known(row):
            self._recorder.add_revision(Block(series.ticker_id, "1m", np.array([row])))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("fetching a ticker's candles failed", exc_info=task.exception())
