"""The heartbeat: the process that brings the market in. It runs until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from django.db import DatabaseError
from redis import RedisError

from exchanges.base import ExchangeError, MarketData
from live.groups import MARKET_GROUP
from live.messages import MarketFrame
from live.publish import publish
from market import clock, weight
from market.heartbeat.backfill import Backfill
from market.heartbeat.exchange_clock import ExchangeClock
from market.heartbeat.fetcher import Fetcher
from market.heartbeat.listener import Heard, Listener
from market.heartbeat.minutes import Minutes
from market.heartbeat.recorder import Progress, Recorder
from market.heartbeat.series import Series
from market.heartbeat.timings import Timings
from market.models import HeartbeatStatus, Ticker
from market.services import EmptyListing, populate_tickers
from market.store import CandleStore

logger = logging.getLogger(__name__)

Universe = tuple[dict[str, int], frozenset[str]]
"""Symbol -> ticker id; and the timeframes in use, always with 1m."""


class Heartbeat:
    """Follows every active ticker of one exchange. A second one beside it is harmless: every write is idempotent (only the
    exchange is asked twice as much).

    `timeframes_in_use` is asked every half minute, in a thread with a database connection.
    """

    def __init__(
        self,
        exchange: MarketData,
        timeframes_in_use: Callable[[], set[str]],
        *,
        is_simulated: bool = False,
        timings: Timings | None = None,
    ) -> None:
        timings = timings or Timings()
        store = CandleStore()
        self._exchange = exchange
        self._timeframes_in_use = timeframes_in_use
        self._is_simulated = is_simulated
        self._timings = timings
        self._fetcher = Fetcher(exchange)
        self._clock = ExchangeClock(self._fetcher, timings)
        self._recorder = Recorder(store, self._progress, timings)
        self._minutes = Minutes(self._fetcher, self._clock, self._recorder, timings)
        self._backfill = Backfill(self._fetcher, self._clock, self._recorder, self._minutes, store)
        self._heard = Heard()
        self._listener: Listener | None = None
        self._timeframes: frozenset[str] = frozenset({"1m"})
        self._started_at: datetime | None = None
        self._watermarks: dict[str, int] = {}
        self._told: tuple[bool, dict[str, int]] = (False, {})

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then ends cleanly within seconds. An error of ours, or a refusal nobody can mend,
        ends it too: whoever supervises it starts it again."""
        self._started_at = datetime.now(UTC)
        work = asyncio.create_task(self._work())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            stopping.cancel()
            await self._end(work)

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._recorder.run())
            group.create_task(self._tell())
            await self._look_until_answered()
            group.create_task(self._watch())
            group.create_task(self._follow_universe())

    async def _look_until_answered(self) -> None:
        while True:
            try:
                return await self._clock.look()
            except ExchangeError as problem:
                logger.warning("waiting for the exchange: %s", problem)
            await asyncio.sleep(1.0)

    async def _watch(self) -> None:
        """Notices closed minutes, and fetches what the stream did not bring."""
        while True:
            await asyncio.sleep(self._timings.tick)
            if self._clock.is_look_wanted:
                try:
                    await self._clock.look()
                except ExchangeError as problem:
                    logger.warning("the exchange's clock did not answer: %s", problem)
                    await asyncio.sleep(1.0)
            if self._clock.due_for >= self._timings.grace:
                self._minutes.sweep()

    async def _follow_universe(self) -> None:
        """Follows what the operator and the users want followed."""
        is_first = True
        while True:
            symbols, timeframes = await self._recorder.persist(self._wanted_universe)
            if not symbols:
                await self._discover()
                symbols, timeframes = await self._recorder.persist(self._wanted_universe)
            await self._change_universe(symbols, timeframes)
            if is_first and symbols:
                logger.info("following %d tickers in %s", len(symbols), ", ".join(sorted(timeframes)))
                is_first = False
            self._check_listener()
            await asyncio.sleep(self._timings.refresh_every)

    def _wanted_universe(self) -> Universe:
        tickers = Ticker.objects.active().filter(exchange=self._exchange.name).values_list("symbol", "id")
        return dict(tickers), frozenset(self._timeframes_in_use()) | {"1m"}

    async def _discover(self) -> None:
        """Nobody has looked yet which tickers there are, or the whole exchange had halted."""
        logger.info("no ticker is followed: asking the exchange what it lists")
        name = self._exchange.name
        try:
            listed, volumes = await self._exchange.symbols(), await self._exchange.quote_volumes_24h()
            await self._recorder.persist(
                populate_tickers, listed=listed, volumes=volumes, exchange=name, now=datetime.now(UTC)
            )
        except (ExchangeError, EmptyListing) as problem:
            logger.warning("the exchange did not say what it lists: %s", problem)

    async def _change_universe(self, symbols: dict[str, int], timeframes: frozenset[str]) -> None:
        known = self._minutes.series
        for symbol in known.keys() - symbols.keys():
            self._recorder.forget(known.pop(symbol).ticker_id)
        fresh = [Series(ticker_id, symbol) for symbol, ticker_id in symbols.items() if symbol not in known]
        running = list(known.values())
        for series in running:
            series.is_refused = False  # listed, says discovery: ask again
            for timeframe in series.timeframes - timeframes:
                series.leave(timeframe)
        known.update((series.symbol, series) for series in fresh)
        self._timeframes = timeframes
        if self._listener is None or self._listener.symbols != symbols.keys():
            await self._listen_to(frozenset(symbols))
        await self._backfill.start(fresh, timeframes)
        lacking = {series.symbol: timeframes - {"1m"} - series.timeframes for series in running}
        for timeframe in sorted(set().union(*lacking.values())):
            await self._backfill.add([series for series in running if timeframe in lacking[series.symbol]], {timeframe})

    async def _listen_to(self, symbols: frozenset[str]) -> None:
        """Opens a stream of these symbols beside the old one, which ends when the new one is complete: no gap."""
        old = self._listener
        self._listener = Listener(self._exchange, symbols, self._minutes, self._heard) if symbols else None
        if old is not None:
            if self._listener is not None:
                await self._listener.wait_until_connected(self._timings.connect_within)
            old.task.cancel()

    def _check_listener(self) -> None:
        """A stream reconnects by itself for ever; one that ended has met an error of ours."""
        if self._listener is not None and self._listener.task.done():
            self._listener.task.result()
            raise RuntimeError("the stream ended without an error")

    def _progress(self) -> Progress:
        watermarks, late = self._minutes.progress(self._timeframes, has_begun=bool(self._watermarks))
        self._watermarks = watermarks or self._watermarks
        return self._watermarks, late

    async def _tell(self) -> None:
        """Tells Postgres, the other processes and the browsers how we are."""
        told_at = float("-inf")
        while True:
            await asyncio.sleep(min(1.0, self._timings.status_every))
            is_due = time.monotonic() - told_at >= self._timings.status_every
            if is_due or self._told != (self._is_connected, self._watermarks):
                told_at = time.monotonic()
                self._told = (self._is_connected, dict(self._watermarks))
                await self._recorder.in_thread(self._write_status, self._status(), is_due=is_due)

    @property
    def _is_connected(self) -> bool:
        return self._listener is not None and self._listener.is_connected

    def _status(self) -> HeartbeatStatus:
        return HeartbeatStatus(
            exchange=self._exchange.name,
            is_connected=self._is_connected,
            started_at=self._started_at,
            stopped_at=None,
            last_message_at=self._heard.last_message_at,
            tickers=len(self._minutes.series),
            reconnects=self._heard.reconnects,
            backfilled_candles=self._backfill.inserted + self._minutes.fetched,
            revised_candles=self._recorder.revised,
            malformed_frames=self._heard.malformed + self._minutes.malformed + self._fetcher.malformed,
            clock_offset_ms=self._clock.offset.total_seconds() * 1000,
            watermarks=dict(self._watermarks),
            updated_at=datetime.now(UTC),
        )

    def _write_status(self, status: HeartbeatStatus, *, is_due: bool) -> None:
        """In the recorder's thread. What cannot be told now is told the next time."""
        offset = self._clock.offset
        frame: MarketFrame = {
            "type": "market",
            "v": 1,
            "exchange": status.exchange,
            "is_connected": status.is_connected,
            "is_simulated": self._is_simulated,
            "at": round((datetime.now(UTC) + offset).timestamp() * 1000),
            "watermarks": status.watermarks,
        }
        publish([(MARKET_GROUP, frame)])
        if not is_due:
            return
        with contextlib.suppress(RedisError):
            clock.publish_offset(offset, status.exchange)
            weight.publish(*self._exchange.weight_used(), status.exchange)
        try:
            save_status(status)
        except DatabaseError as problem:
            logger.warning("status not written: %s", str(problem).partition("\n")[0])

    async def _end(self, work: asyncio.Task[None]) -> None:
        logger.info("stopping")
        work.cancel()
        self._minutes.cancel()
        if self._listener is not None:
            self._listener.task.cancel()
        await asyncio.wait({work})
        status = self._status()
        status.is_connected, status.stopped_at = False, datetime.now(UTC)
        try:
            async with asyncio.timeout(self._timings.flush_within):
                await self._recorder.flush()
                await self._recorder.in_thread(self._write_status, status, is_due=True)
        except TimeoutError:
            logger.warning("not everything was written; the next start fetches it again")
        finally:
            await self._recorder.close()
            await self._exchange.close()


def save_status(status: HeartbeatStatus) -> None:
    """Writes the one row of the status' exchange."""
    values = {
        field.name: getattr(status, field.name) for field in status._meta.concrete_fields if not field.primary_key
    }
    HeartbeatStatus.objects.update_or_create(exchange=values.pop("exchange"), defaults=values)
