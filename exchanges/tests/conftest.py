from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from engine.candles import MINUTE_MS
from exchanges.base import Connected, Disconnected, KlineEvent, Malformed, MarketData, StreamItem
from exchanges.binance import BinanceMarketData, StreamTimings
from exchanges.simulator import Simulator, SimulatorConfig, running

START = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)

# A stepped market is silent while a test thinks; connections come back at once.
PATIENT = StreamTimings(silence=60.0, answer=30.0, first_wait=0.01, longest_wait=0.05)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """Sixteen markets (the eighth and the last are thin) whose clock stands at START."""
    async with running(SimulatorConfig(tickers=16, stepped=True, start_at=START)) as simulator:
        yield simulator


@pytest.fixture
async def market_data(simulator: Simulator) -> AsyncIterator[BinanceMarketData]:
    """Our client of the simulated exchange."""
    market_data = client_of(simulator)
    yield market_data
    await market_data.close()


def client_of(simulator: Simulator, timings: StreamTimings = PATIENT) -> BinanceMarketData:
    return BinanceMarketData(rest_url=simulator.rest_url, stream_url=simulator.stream_url, timings=timings)


async def ask(simulator: Simulator, path: str, **query: str | int) -> Any:
    """The JSON that the exchange answers."""
    reply = await ask_response(simulator, path, **query)
    return await reply.json()


async def ask_response(simulator: Simulator, path: str, **query: str | int) -> aiohttp.ClientResponse:
    """The exchange's answer, read."""
    async with aiohttp.ClientSession() as session, session.get(simulator.rest_url + path, params=query) as response:
        await response.read()
        return response


class Follower:
    """The least that a consumer of streams must do: it keeps closed candles, and fetches what it may have missed
    whenever a connection is new and whenever a frame could not be read."""

    def __init__(self, market_data: MarketData, symbols: Iterable[str], since_ms: int) -> None:
        self.items: list[StreamItem] = []
        self.streamed: Counter[tuple[str, int]] = Counter()
        self.candles: dict[str, dict[int, tuple[float, ...]]] = {symbol: {} for symbol in symbols}
        self._market_data = market_data
        self._since_ms = since_ms
        self._changed = asyncio.Event()

    async def run(self) -> None:
        async with aclosing(self._market_data.stream_klines(self.candles)) as items:
            async for item in items:
                if isinstance(item, KlineEvent):
                    self._keep(item)
                elif isinstance(item, Connected | Malformed):
                    await self._fetch(item.symbols if isinstance(item, Connected) else self.candles)
                self.items.append(item)
                self._changed.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Waits for something to become true of what was received."""
        async with asyncio.timeout(60):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    async def until_minutes(self, number: int) -> None:
        """Waits until so many closed minutes of every symbol are here."""
        await self.until(lambda: all(len(candles) >= number for candles in self.candles.values()))

    def count(self, kind: type[StreamItem]) -> int:
        return sum(isinstance(item, kind) for item in self.items)

    def reasons(self) -> list[str]:
        """Why connections ended."""
        return [item.reason for item in self.items if isinstance(item, Disconnected)]

    def _keep(self, event: KlineEvent) -> None:
        if event.is_closed:
            self.streamed[event.symbol, event.open_time] += 1
            values = (event.open, event.high, event.low, event.close, event.volume)
            self.candles[event.symbol][event.open_time] = values

    async def _fetch(self, symbols: Iterable[str]) -> None:
        now = await self._market_data.server_time_ms()
        for symbol in symbols:
            rows = await self._market_data.klines(symbol, "1m", start_ms=self._since_ms)
            for opened, *values in rows.tolist():
                if opened + MINUTE_MS <= now:
                    self.candles[symbol][int(opened)] = tuple(values)


@asynccontextmanager
async def following(
    market_data: MarketData, symbols: Iterable[str], since_ms: int = START_MS
) -> AsyncIterator[Follower]:
    """A follower that is connected."""
    follower = Follower(market_data, symbols, since_ms)
    task = asyncio.create_task(follower.run())
    connected = asyncio.create_task(follower.until(lambda: follower.count(Connected) > 0))
    try:
        await asyncio.wait({task, connected}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        await connected
        yield follower
    finally:
        connected.cancel()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def expected_minutes(simulator: Simulator, symbol: str, since_ms: int = START_MS) -> dict[int, tuple[float, ...]]:
    """What the market itself says closed since then."""
    market = simulator.market
    now = market.clock.now_ms()
    bars = market.bars(market.place[symbol], "1m", since_ms, None, 100_000, now)
    return {int(opened): tuple(values[:5]) for opened, *values in bars.tolist() if opened + MINUTE_MS <= now}
