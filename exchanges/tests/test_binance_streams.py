"""Our stream client, against the simulated exchange with its faults on: whatever happens, no minute is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest

from exchanges.base import Connected, Disconnected, KlineEvent, Malformed
from exchanges.binance import BinanceMarketData, streams
from exchanges.simulator import Simulator, SimulatorConfig, running
from exchanges.simulator.faults import GARBAGE
from exchanges.tests.conftest import PATIENT, START, START_MS, Follower, client_of, expected_minutes, following

SYMBOLS = ["BTCUSDT", "ETHUSDT", "币安人生USDT"]


@pytest.fixture
async def watchful(simulator: Simulator) -> AsyncIterator[BinanceMarketData]:
    """A client whose watchdog bites soon."""
    market_data = client_of(simulator, replace(PATIENT, silence=0.4))
    yield market_data
    await market_data.close()


def assert_nothing_is_lost(follower: Follower, simulator: Simulator, minutes: int) -> None:
    for symbol, candles in follower.candles.items():
        expected = expected_minutes(simulator, symbol)
        assert len(expected) == minutes
        assert candles == expected, symbol


async def test_closed_candles_come_in_order_and_are_the_markets_own(
    market_data: BinanceMarketData, simulator: Simulator
) -> None:
    async with following(market_data, SYMBOLS) as follower:
        await simulator.advance(20)
        await follower.until_minutes(20)

    events = [item for item in follower.items if isinstance(item, KlineEvent)]
    assert [(event.open_time, event.symbol) for event in events] == [
        (START_MS + minute * 60_000, symbol) for minute in range(20) for symbol in SYMBOLS
    ]
    assert events[0].event_time == START_MS + 60_000
    assert follower.count(Connected) == 1
    assert_nothing_is_lost(follower, simulator, 20)


async def test_many_names_share_few_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STREAMS_PER_CONNECTION", 600)
    async with running(SimulatorConfig(tickers=1_000, stepped=True, start_at=START)) as simulator:
        market_data = client_of(simulator)
        symbols = [listing.symbol for listing in simulator.market.listings]
        async with aclosing(market_data.stream_klines(symbols)) as items:
            connected: set[str] = set()
            async for item in items:
                if isinstance(item, Connected):
                    connected |= item.symbols
                if len(connected) == len(symbols):
                    break
            status = simulator.status()
            await simulator.advance(1)
            events = {(await anext(items)).symbol for _ in symbols}  # type: ignore[union-attr]
        await market_data.close()

    assert (status["sockets"], status["streams"]) == (2, 1_000)
    assert events == set(symbols)


async def test_a_cut_is_told_and_loses_nothing(market_data: BinanceMarketData, simulator: Simulator) -> None:
    async with following(market_data, SYMBOLS) as follower:
        for cuts in range(1, 4):
            await simulator.advance(3)
            simulator.set_fault(cut=True)
            await simulator.advance(2)
            await follower.until(lambda cuts=cuts: follower.count(Connected) == cuts + 1)  # type: ignore[misc]
        await simulator.advance(1)
        await follower.until_minutes(16)

    notes = [item for item in follower.items if isinstance(item, Connected | Disconnected)]
    assert [type(note) for note in notes] == [Connected] + [Disconnected, Connected] * 3
    assert all(note.symbols == frozenset(SYMBOLS) for note in notes)
    assert_nothing_is_lost(follower, simulator, 16)


async def test_silence_is_noticed_and_loses_nothing(watchful: BinanceMarketData, simulator: Simulator) -> None:
    async with following(watchful, SYMBOLS) as follower:
        await simulator.advance(2)
        simulator.set_fault(is_silent=True)
        await simulator.advance(3)
        await follower.until(lambda: follower.count(Connected) > 1)
        simulator.clear_faults()
        await simulator.advance(1)
        await follower.until_minutes(6)

    assert "silent for 0.4 s" in follower.reasons()
    assert_nothing_is_lost(follower, simulator, 6)


async def test_garbage_is_counted_and_loses_nothing(market_data: BinanceMarketData, simulator: Simulator) -> None:
    async with following(market_data, SYMBOLS) as follower:
        await simulator.advance(2)
        simulator.set_fault(garbled_frames=len(GARBAGE))
        await simulator.advance(5)
        await follower.until(lambda: follower.count(Malformed) == len(GARBAGE))
        await simulator.advance(1)
        await follower.until_minutes(8)

    assert [item.excerpt for item in follower.items if isinstance(item, Malformed)] == [text[:200] for text in GARBAGE]
    assert follower.count(Connected) == 1
    assert_nothing_is_lost(follower, simulator, 8)


async def test_nothing_but_garbage_counts_as_silence(watchful: BinanceMarketData, simulator: Simulator) -> None:
    async with following(watchful, SYMBOLS) as follower:
        simulator.set_fault(garbled_frames=10**9)
        async with asyncio.timeout(60):
            while follower.count(Disconnected) == 0:
                await simulator.advance(1)
                await asyncio.sleep(0.05)

    assert "silent for 0.4 s" in follower.reasons()


async def test_sockets_that_are_refused_are_tried_again(market_data: BinanceMarketData, simulator: Simulator) -> None:
    async with following(market_data, SYMBOLS) as follower:
        simulator.set_fault(refuse_sockets=True, cut=True)
        await follower.until(lambda: follower.count(Disconnected) >= 5)
        await simulator.advance(4)
        simulator.clear_faults()
        await follower.until(lambda: follower.count(Connected) == 2)
        await follower.until_minutes(4)

    assert any("503" in reason for reason in follower.reasons())
    assert_nothing_is_lost(follower, simulator, 4)


async def test_a_dropped_closed_candle_is_missing_until_it_is_fetched(
    market_data: BinanceMarketData, simulator: Simulator
) -> None:
    async with following(market_data, SYMBOLS) as follower:
        simulator.set_fault(drop_closed=1)
        await simulator.advance(2)
        await follower.until(lambda: len(follower.candles["ETHUSDT"]) == 2)
        rows = await market_data.klines("BTCUSDT", "1m", start_ms=START_MS)

    assert list(follower.candles["BTCUSDT"]) == [START_MS + 60_000]
    assert rows[:, 0].tolist() == [START_MS, START_MS + 60_000]
    assert simulator.status()["closedDropped"] == 1


async def test_an_old_connection_is_replaced_without_a_gap(simulator: Simulator) -> None:
    market_data = client_of(simulator, replace(PATIENT, lifetime=0.3))
    async with following(market_data, SYMBOLS) as follower:
        first = set(simulator.streams.connections)
        minutes = 0
        # Until every connection of the beginning and its successors have been replaced a few times.
        seen = set(first)
        async with asyncio.timeout(60):
            while len(seen) < 5:
                await simulator.advance(1)
                minutes += 1
                await asyncio.sleep(0.01)
                seen |= simulator.streams.connections
        await follower.until_minutes(minutes)
    await market_data.close()

    assert follower.count(Disconnected) == 0
    # Streamed, every one of them: nothing had to be fetched.
    assert set(follower.streamed) == {
        (symbol, START_MS + minute * 60_000) for symbol in SYMBOLS for minute in range(minutes)
    }
    assert_nothing_is_lost(follower, simulator, minutes)


async def test_a_connection_that_cannot_be_replaced_goes_on(simulator: Simulator) -> None:
    market_data = client_of(simulator, replace(PATIENT, lifetime=0.1))
    async with following(market_data, SYMBOLS) as follower:
        simulator.set_fault(refuse_sockets=True)
        await asyncio.sleep(0.3)
        await simulator.advance(3)
        await follower.until_minutes(3)
    await market_data.close()

    assert follower.count(Disconnected) == 0


async def test_replacing_a_connection_costs_a_slow_consumer_nothing(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "QUEUE_SIZE", 2)
    market_data = client_of(simulator, replace(PATIENT, lifetime=0.2))
    symbols = [listing.symbol for listing in simulator.market.listings]
    minutes = 60
    closed: set[tuple[str, int]] = set()
    used = set()

    async def advance() -> None:
        for _ in range(minutes):
            await simulator.advance(1)
            await asyncio.sleep(0.02)

    async with asyncio.timeout(60), aclosing(market_data.stream_klines(symbols)) as items:
        assert isinstance(await anext(items), Connected)
        advancing = asyncio.create_task(advance())
        async for item in items:
            assert isinstance(item, KlineEvent)
            closed.add((item.symbol, item.open_time))
            used |= simulator.streams.connections
            if len(closed) == minutes * len(symbols):
                break
            await asyncio.sleep(0.002)
        await advancing
    await market_data.close()

    assert len(used) > 2


async def test_a_slow_consumer_gets_every_closed_candle(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "QUEUE_SIZE", 4)
    market_data = client_of(simulator)
    closed = []
    async with asyncio.timeout(60), aclosing(market_data.stream_klines(SYMBOLS)) as items:
        assert isinstance(await anext(items), Connected)
        advancing = asyncio.create_task(simulator.advance(50))
        async for item in items:
            await asyncio.sleep(0.001)
            assert isinstance(item, KlineEvent)
            closed.append((item.symbol, item.open_time))
            if len(closed) == 150:
                break
        await advancing
    await market_data.close()

    assert len(set(closed)) == 150


async def test_closing_the_stream_closes_its_connections(market_data: BinanceMarketData, simulator: Simulator) -> None:
    async with following(market_data, SYMBOLS):
        assert simulator.status()["sockets"] == 1

    async with asyncio.timeout(30):
        while simulator.status()["sockets"]:  # noqa: ASYNC110 - the other side has no event to wait for
            await asyncio.sleep(0.01)


async def test_closing_the_client_ends_its_streams(market_data: BinanceMarketData) -> None:
    received = []
    async with asyncio.timeout(30), aclosing(market_data.stream_klines(SYMBOLS)) as items:
        async for item in items:
            received.append(type(item))
            await market_data.close()

    assert received == [Connected]


async def test_an_unknown_timeframe_is_refused(market_data: BinanceMarketData) -> None:
    with pytest.raises(ValueError):
        await anext(market_data.stream_klines(SYMBOLS, "7m"))


async def test_symbols_that_nobody_lists_are_silent_and_harm_no_other(
    market_data: BinanceMarketData, simulator: Simulator
) -> None:
    async with aclosing(market_data.stream_klines(["NOPEUSDT", "BTCUSDT"])) as items:
        assert await anext(items) == Connected(frozenset({"NOPEUSDT", "BTCUSDT"}))
        await simulator.advance(1)
        event = await anext(items)

    assert isinstance(event, KlineEvent)
    assert event.symbol == "BTCUSDT"


def test_waits_double_with_jitter_up_to_the_longest() -> None:
    backoff = streams.Backoff(first=1.0, longest=60.0)

    waits = [backoff.next() for _ in range(100)]
    backoff.reset()

    full = [min(60.0, 2.0**number) for number in range(100)]
    assert all(part / 2 <= wait <= part for wait, part in zip(waits, full, strict=True))
    assert len(set(waits)) == 100
    assert backoff.next() <= 1.0
