"""The heartbeat against a real exchange over real sockets: nothing that goes wrong may cost a minute."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pytest
from redis import Redis

from engine.candles import MINUTE_MS, Float64s
from exchanges.base import KlineEvent, StreamItem
from exchanges.binance import BinanceMarketData
from exchanges.simulator import Simulator, SimulatorConfig, running
from market import clock, watermark
from market.models import Candle, CandleRevision, HeartbeatStatus, Ticker, Universe
from market.store import CandleStore
from market.tests.conftest import (
    QUICK_STREAMS,
    Beating,
    beating,
    client_of,
    eventually,
    followed,
    id_of,
    in_thread,
    postgres_away,
    status,
    stored_rows,
)

pytestmark = [pytest.mark.usefixtures("live", "every_quote")]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    # Always from the same minute, which lies across every timeframe's grid.
    config = SimulatorConfig(tickers=12, stepped=True, start_at=datetime(2026, 11, 21, 12, 1, tzinfo=UTC))
    async with running(config) as simulator:
        yield simulator


class Counting(BinanceMarketData):
    """A client that knows how often it asked for candles."""

    asked = 0

    async def klines(
        self, symbol: str, timeframe: str, start_ms: int | None = None, end_ms: int | None = None, limit: int = 1000
    ) -> Float64s:
        self.asked += 1
        return await super().klines(symbol, timeframe, start_ms, end_ms, limit)


def held_rows(symbol: str, timeframe: str) -> Float64s:
    return CandleStore().load([id_of(symbol)], timeframe)[id_of(symbol)].rows


async def assert_nothing_is_missing(running: Beating, *, minutes: int) -> None:
    """Postgres and the store hold exactly the exchange's own candles, in every timeframe."""
    exchange = client_of(running.simulator)
    try:
        for symbol in await in_thread(followed):
            rows = await stored_rows(symbol, "1m")
            assert rows[-1, 0] == running.market_ms - MINUTE_MS
            assert len(rows) >= minutes
            assert (np.diff(rows[:, 0]) == MINUTE_MS).all()
            newest = await exchange.klines(symbol, "1m", end_ms=running.market_ms - MINUTE_MS)
            assert np.array_equal(rows[-len(newest) :], newest)
            for timeframe in {"1m"} | running.timeframes:
                held = await in_thread(partial(held_rows, symbol, timeframe))
                assert np.array_equal(held, (await stored_rows(symbol, timeframe))[-1000:])
    finally:
        await exchange.close()


async def test_it_backfills_what_the_store_holds_and_follows_the_market(simulator: Simulator) -> None:
    async with beating(simulator, "1m", "2m", "5m") as running:
        await running.complete()

        await running.advance(1, 1, 1, 7)

        await assert_nothing_is_missing(running, minutes=2_010)
        for timeframe, number in (("2m", 1_005), ("5m", 1_002)):
            assert len(await stored_rows("BTCUSDT", timeframe)) == number


async def test_higher_candles_equal_the_exchanges_own(simulator: Simulator) -> None:
    """Every sort of market, also one where most minutes see no trade."""
    await in_thread(lambda: Universe.objects.update(maximum_tickers=12))
    async with beating(simulator, "3m", "5m", "15m") as running:
        await running.complete()
        began = running.market_ms

        await running.advance(*[1] * 6, 4, 30)

        exchange = client_of(simulator)
        quiet = 0
        for symbol in await in_thread(followed):
            quiet += int(((await stored_rows(symbol, "1m"))[:, 5] == 0).sum())
            for timeframe in ("3m", "5m", "15m"):
                built = await stored_rows(symbol, timeframe)
                theirs = await exchange.klines(symbol, timeframe, end_ms=int(built[-1, 0]))
                assert (built[:, 0] >= began).sum() >= 1, "nothing of it was built here"
                assert np.array_equal(built[-len(theirs) :], theirs)
        assert quiet > 100
        await exchange.close()


@pytest.mark.parametrize(
    "fault",
    [
        {"cut": True},
        {"is_silent": True},
        {"garbled_frames": 9},
        {"drop_closed": 5},
        {"drop_closed": 10_000, "status": 503, "requests": 6},
        {"drop_closed": 10_000, "status": 429, "requests": 2, "retry_after": 1},
        {"drop_closed": 10_000, "status": 418, "requests": 1, "retry_after": 2},
        {"drop_closed": 2, "latency_ms": 300},
    ],
    ids=lambda fault: "+".join(fault),
)
async def test_no_fault_costs_a_minute(simulator: Simulator, fault: dict[str, int | bool]) -> None:
    async with beating(simulator, "2m") as running:
        await running.complete()

        simulator.set_fault(**fault)
        await running.advance(1, 1, 3)
        simulator.clear_faults()
        await running.advance(1, 2)

        await assert_nothing_is_missing(running, minutes=2_008)


async def test_a_reply_that_is_no_answer_is_counted_and_asked_again(simulator: Simulator) -> None:
    async with beating(simulator) as running:
        await running.complete()

        simulator.set_fault(is_html=True, drop_closed=10_000)
        await simulator.advance(1)
        await eventually(lambda: status().malformed_frames > 0)
        simulator.clear_faults()
        await running.complete()

        await assert_nothing_is_missing(running, minutes=1_001)


async def test_garbage_on_the_stream_is_counted(simulator: Simulator) -> None:
    async with beating(simulator) as running:
        await running.complete()

        simulator.set_fault(garbled_frames=4)
        await running.advance(2)

        await eventually(lambda: status().malformed_frames >= 4)


async def test_nobody_asks_while_the_exchange_wants_quiet(simulator: Simulator) -> None:
    async with beating(simulator) as running:
        await running.complete()
        before = simulator.rest.requests

        simulator.set_fault(status=429, retry_after=4, drop_closed=10_000)
        await simulator.advance(1)
        await eventually(lambda: simulator.rest.requests > before)
        await asyncio.sleep(0.5)  # what was on its way
        asked = simulator.rest.requests
        await asyncio.sleep(1.5)

        assert simulator.rest.requests == asked
        simulator.clear_faults()
        await running.complete()


async def test_a_restart_fetches_exactly_what_is_missing(simulator: Simulator) -> None:
    async with beating(simulator, "2m", "5m") as first:
        await first.complete()
        await first.advance(1)
    tickers = len(await in_thread(followed))
    candles = await in_thread(Candle.objects.count)
    counting = Counting(rest_url=simulator.rest_url, stream_url=simulator.stream_url, name="simulated")

    async with beating(simulator, "2m", "5m", exchange=counting) as nothing_missing:
        await nothing_missing.complete()
        await eventually(lambda: status().is_connected)
        assert await in_thread(lambda: status().backfilled_candles) == 0
        assert counting.asked == 0

    await simulator.advance(30)
    async with beating(simulator, "2m", "5m") as second:
        await second.complete()
        await eventually(lambda: status().backfilled_candles == tickers * (30 + 15 + 6))
        await assert_nothing_is_missing(second, minutes=2_031)
        assert await in_thread(Candle.objects.count) == candles + tickers * (30 + 15 + 6)


async def test_an_emptied_live_store_is_filled_again(simulator: Simulator, live: Redis) -> None:
    async with beating(simulator, "2m") as running:
        await running.complete()
        keys = set(live.keys("candles:*"))

        live.flushdb()

        await eventually(lambda: set(live.keys("candles:*")) == keys)
        await running.advance(2)
        await assert_nothing_is_missing(running, minutes=2_002)


async def test_a_live_store_that_fell_behind_is_brought_up(simulator: Simulator, live: Redis) -> None:
    """A Redis that was restarted from an old snapshot holds candles, but not the last ones."""
    async with beating(simulator, "2m") as running:
        await running.complete()
        snapshot = {key: dumped for key in live.keys("candles:*") if (dumped := live.dump(key))}
        await running.advance(2, 2)

        for key, dumped in snapshot.items():
            live.restore(key, 0, dumped, replace=True)
        await running.advance(2)

        await assert_nothing_is_missing(running, minutes=2_006)


async def test_a_silent_ticker_holds_the_watermark_back(simulator: Simulator) -> None:
    async with beating(simulator, "2m") as running:
        await running.complete()
        before = await in_thread(watermark.read)

        simulator.set_fault(drop_closed=1, status=503)
        await simulator.advance(2)
        await eventually(lambda: len(watermark.late_tickers()) == 1)

        assert await in_thread(watermark.read) == before
        simulator.clear_faults()
        await running.complete()
        assert await in_thread(watermark.late_tickers) == []


async def test_a_later_value_is_kept_as_a_revision(simulator: Simulator) -> None:
    class Restless(BinanceMarketData):
        """Sends each closed candle again, with another volume."""

        async def stream_klines(
            self, symbols: Iterable[str], timeframe: str = "1m"
        ) -> AsyncGenerator[StreamItem, None]:
            async for item in super().stream_klines(symbols, timeframe):
                yield item
                if isinstance(item, KlineEvent) and item.is_closed:
                    yield dataclasses.replace(item, volume=item.volume + 1)

    exchange = Restless(
        rest_url=simulator.rest_url, stream_url=simulator.stream_url, name="simulated", timings=QUICK_STREAMS
    )
    async with beating(simulator, exchange=exchange) as running:
        await running.complete()

        await running.advance(1, 1)

        await eventually(lambda: CandleRevision.objects.count() == 2 * len(followed()))
        await eventually(lambda: status().revised_candles == 2 * len(followed()))
        await assert_nothing_is_missing(running, minutes=1_002)


async def test_what_is_followed_changes_while_it_runs(simulator: Simulator) -> None:
    async with beating(simulator, "2m") as running:
        await running.complete()
        everyone = await in_thread(followed)
        left, others = everyone[0], everyone[1:]

        await in_thread(lambda: Ticker.objects.filter(symbol=left).update(is_followed=False))
        await eventually(lambda: status().tickers == len(others))
        await running.advance(3)
        assert (await stored_rows(left, "1m"))[-1, 0] == running.market_ms - 4 * MINUTE_MS

        await in_thread(lambda: Ticker.objects.filter(symbol=left).update(is_followed=True))
        await eventually(lambda: status().tickers == len(everyone))
        running.timeframes.add("3m")
        await running.advance(3)

        await assert_nothing_is_missing(running, minutes=2_006)
        assert len(await stored_rows(left, "3m")) >= 1_000


async def test_two_heartbeats_do_not_disturb_each_other(simulator: Simulator) -> None:
    async with beating(simulator, "2m") as one, beating(simulator, "2m") as two:
        await one.complete()
        await two.complete()

        await one.advance(1, 1, 2)

        await assert_nothing_is_missing(one, minutes=2_004)
        assert await in_thread(CandleRevision.objects.count) == 0
        assert await in_thread(HeartbeatStatus.objects.count) == 1


async def test_the_clock_follows_an_exchange_whose_clock_is_wrong(simulator: Simulator) -> None:
    simulator.set_fault(skew_ms=30_000)
    async with beating(simulator) as running:
        await eventually(lambda: status().clock_offset_ms != 0)

        def is_right() -> bool:
            clock._cache.clear()
            told = simulator.market.clock.now_ms() + 30_000
            # The simulated clock stands still and ours runs: the offset is as old as its measurement.
            return abs(clock.now().timestamp() * 1000 - told) < 2_000

        await eventually(is_right)
        await simulator.advance(5)
        await eventually(is_right)
        await running.complete()


async def test_it_ends_cleanly_and_says_so(simulator: Simulator) -> None:
    async with beating(simulator) as running:
        await running.complete()
        await eventually(lambda: status().is_connected)
        assert await in_thread(lambda: status().stopped_at) is None

    ended = await in_thread(status)
    assert not ended.is_connected
    assert ended.started_at is not None
    assert ended.stopped_at is not None
    assert ended.stopped_at > ended.started_at
    assert simulator.streams.connections == set()


async def test_candles_wait_while_postgres_is_away(simulator: Simulator) -> None:
    async with beating(simulator, "2m") as running:
        await running.complete()
        before = await in_thread(Candle.objects.count)

        async with postgres_away():
            await simulator.advance(2)
            await asyncio.sleep(1.0)
        await running.complete()

        assert await in_thread(Candle.objects.count) == before + len(await in_thread(followed)) * 3
        await assert_nothing_is_missing(running, minutes=2_002)


async def test_it_waits_for_an_exchange_that_is_not_there_yet_and_says_so(simulator: Simulator) -> None:
    simulator.set_fault(status=503)
    async with beating(simulator) as running:
        await eventually(lambda: status().is_connected is False)
        assert await in_thread(Ticker.objects.count) == 0

        simulator.clear_faults()
        await running.complete()

        await assert_nothing_is_missing(running, minutes=1_000)
