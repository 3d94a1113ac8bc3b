"""A heartbeat beside a simulated exchange, in the test's own event loop, with real stores."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ObjectDoesNotExist
from django.db import connection
from redis import Redis

from engine.candles import TIMEFRAMES, Float64s
from exchanges.base import MarketData
from exchanges.binance import BinanceMarketData, StreamTimings
from exchanges.simulator import Simulator
from market import clock, watermark
from market.candles import load_candles
from market.connection import live_store
from market.heartbeat import Heartbeat, Timings
from market.models import HeartbeatStatus, Ticker, Universe

T = TypeVar("T")

# How long a test waits for what must happen: many times what it takes.
PATIENCE = 60.0
QUICK = Timings(
    tick=0.02, clock_every=0.2, rest=0.0, grace=0.15, confirm=0.5, gather=0.01, refresh_every=0.3, status_every=0.2
)
QUICK_STREAMS = StreamTimings(silence=30.0, answer=5.0, first_wait=0.05, longest_wait=0.2)


@pytest.fixture
def live() -> Iterator[Redis]:
    """The live store, empty before and after."""
    live_store().flushdb()
    clock._cache.clear()
    yield live_store()
    live_store().flushdb()
    clock._cache.clear()


@pytest.fixture
def every_quote(transactional_db: None) -> Universe:
    """A universe that follows at most four tickers, whatever their quote asset."""
    universe = Universe.objects.create(exchange="simulated", quote_assets="", maximum_tickers=4)
    connection.close()  # the test itself asks in threads; this one must not be in the way of `postgres_away`
    return universe


@dataclass
class Beating:
    """A running heartbeat, and what a test asks about it."""

    simulator: Simulator
    timeframes: set[str]
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def market_ms(self) -> int:
        return self.simulator.market.clock.now_ms()

    async def complete(self) -> None:
        """Waits until everything that has closed on the market is in the store."""
        await eventually(self._is_complete)

    def _is_complete(self) -> bool:
        reached = {name: at.timestamp() * 1000 for name, at in watermark.read().items()}
        return all(
            reached.get(name) == self.market_ms // TIMEFRAMES[name] * TIMEFRAMES[name]
            for name in self.timeframes | {"1m"}
        )

    async def advance(self, *steps: int) -> None:
        """Lets so many minutes pass on the market, and waits after each step until all is in."""
        for minutes in steps:
            await self.simulator.advance(minutes)
            await self.complete()


@contextlib.asynccontextmanager
async def beating(
    simulator: Simulator, *timeframes: str, timings: Timings = QUICK, exchange: MarketData | None = None
) -> AsyncIterator[Beating]:
    """A heartbeat that follows the simulator for as long as the context lasts; its errors are the test's."""
    running = Beating(simulator, set(timeframes))
    heartbeat = Heartbeat(
        exchange or client_of(simulator), lambda: running.timeframes, is_simulated=True, timings=timings
    )
    task = asyncio.create_task(heartbeat.run(running.stop))
    try:
        yield running
    finally:
        running.stop.set()
        await asyncio.wait_for(task, PATIENCE)


def client_of(simulator: Simulator) -> BinanceMarketData:
    return BinanceMarketData(
        rest_url=simulator.rest_url, stream_url=simulator.stream_url, name="simulated", timings=QUICK_STREAMS
    )


async def eventually(is_true: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Waits until something is true; it is asked in a thread, where it may use the stores."""
    deadline = time.monotonic() + seconds
    while not await in_thread(lambda: _is_true(is_true)):
        assert time.monotonic() < deadline, f"not true within {seconds} s"
        await asyncio.sleep(0.02)


def _is_true(question: Callable[[], object]) -> bool:
    try:
        return bool(question())
    except ObjectDoesNotExist:  # not yet
        return False


async def in_thread(function: Callable[[], T]) -> T:
    """Runs a function that uses the database from a coroutine."""

    def call() -> T:
        try:
            return function()
        finally:
            connection.close()

    return await sync_to_async(call, thread_sensitive=False)()


async def stored_rows(symbol: str, timeframe: str) -> Float64s:
    """All that Postgres holds: (n, 6)."""
    return (await in_thread(lambda: load_candles(id_of(symbol), timeframe, limit=1_000_000))).rows


def id_of(symbol: str) -> int:
    return Ticker.objects.get(symbol=symbol).pk


def followed() -> list[str]:
    return sorted(Ticker.objects.active().values_list("symbol", flat=True))


def status() -> HeartbeatStatus:
    return HeartbeatStatus.objects.get()


@contextlib.asynccontextmanager
async def postgres_away() -> AsyncIterator[None]:
    """Nobody reaches the database: connections are ended, and new ones are refused."""
    await in_thread(lambda: _allow_connections(False))
    try:
        yield
    finally:
        await in_thread(lambda: _allow_connections(True))


def _allow_connections(is_allowed: bool) -> None:
    name = connection.settings_dict["NAME"]
    with connection._nodb_cursor() as cursor:  # from the database beside ours
        cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {is_allowed}')
        if not is_allowed:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
