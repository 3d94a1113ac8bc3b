"""From a closed candle to Postgres, then to the candle store, then to the watermark: one thread, one connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection
from redis import RedisError

from market import watermark
from market.candles import Block, Key, Written, write_candles, write_revisions
from market.heartbeat.timings import Timings
from market.store import CandleStore

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds
# The watermark is published at least so often (seconds): an emptied live store is noticed by it.
PUBLISH_EVERY = 1.0

REFILLED_AT_ONCE = 200
# Postgres or Redis is away, or a lock is not to be had: later it will be.
UNAVAILABLE = (OperationalError, InterfaceError, RedisError)

Progress = tuple[Mapping[str, int], Iterable[int]]
"""Watermarks, timeframe -> ms; and the tickers that are late."""


class Recorder:
    """What is added is kept until Postgres has it. An unreachable live store holds up the watermark, nothing else."""

    def __init__(self, store: CandleStore, progress: Callable[[], Progress], timings: Timings) -> None:
        self._store = store
        self._progress = progress
        self._timings = timings
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="heartbeat-recorder")
        self._is_wanted = asyncio.Event()
        self._blocks: list[Block] = []
        self._revisions: list[Block] = []
        self._settled: dict[int, int] = {}
        # Must be filled before the watermark may move: a reader would take what they hold for complete.
        self._behind: set[Key] = set()
        # May be filled bit by bit: who misses them loads them from Postgres.
        self._emptied: set[Key] = set()
        self._has_published = False
        # Ticker id -> the instant up to which its candles are in Postgres and in the store.
        self.stored: dict[int, int] = {}
        # Every key the store should hold: all are refilled when it comes back empty.
        self.keys: set[Key] = set()
        self.revised = 0

    def add(self, ticker_id: int, blocks: Iterable[Block], settled: int) -> None:
        """Takes candles that closed, in order, and how far their ticker is settled with them."""
        self._blocks += blocks
        self._settled[ticker_id] = settled
        self._is_wanted.set()

    def add_revision(self, block: Block) -> None:
        """Takes values that came for candles that were settled before."""
        self._revisions.append(block)
        self._is_wanted.set()

    def forget(self, ticker_id: int) -> None:
        """The ticker is not followed any more."""
        self._settled.pop(ticker_id, None)
        self.stored.pop(ticker_id, None)
        self.keys = {key for key in self.keys if key[0] != ticker_id}

    async def run(self) -> None:
        """Records for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_wanted.wait(), PUBLISH_EVERY)
                await asyncio.sleep(self._timings.gather)
            await self.flush()

    async def flush(self) -> None:
        """Records what has been added so far, and publishes the watermark."""
        self._is_wanted.clear()
        blocks, self._blocks = self._blocks, []
        revisions, self._revisions = self._revisions, []
        settled, self._settled = self._settled, {}
        try:
            if blocks or revisions:
                written = await self.persist(self._write, blocks, revisions)
                self.revised += written.revised
        except asyncio.CancelledError:
            # The last flush of a process that ends takes them up again.
            self._blocks, self._revisions = blocks + self._blocks, revisions + self._revisions
            self._settled = settled | self._settled
            raise
        if await self.in_thread(self._store_blocks, blocks):
            self.stored.update(settled)
        else:
            self._settled = settled | self._settled
        watermarks, late = self._progress()
        await self.in_thread(self._publish, watermarks, list(late))

    async def write_history(self, blocks: list[Block]) -> Written:
        """Writes older candles to Postgres; `mend` then brings the store up to it."""
        written = await self.persist(self._write, blocks, [])
        self.revised += written.revised
        return written

    async def persist(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a function that needs Postgres in the recorder's thread, again and again until Postgres is there."""
        pause = FIRST_PAUSE
        while True:
            try:
                return await self.in_thread(function, *args, **kwargs)
            except UNAVAILABLE as problem:
                logger.warning("not written, trying again in %.1f s: %s", pause, _first_line(problem))
            await self.in_thread(_close_connection)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a function in the recorder's thread: that is where the database connection is."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))

    async def close(self) -> None:
        """Ends the thread and its connection."""
        await self.in_thread(_close_connection)
        self._thread.shutdown()

    def _write(self, blocks: list[Block], revisions: list[Block]) -> Written:
        now = datetime.now(UTC)
        written = write_candles(blocks, received_at=now)
        return Written(written.inserted, written.revised + write_revisions(revisions, seen_at=now))

    def _store_blocks(self, blocks: list[Block]) -> bool:
        try:
            self._behind.update(self._store.append(blocks))
            self._refill(self._behind, len(self._behind))
            self._refill(self._emptied, REFILLED_AT_ONCE)
        except UNAVAILABLE as problem:
            # Postgres has them: they come into the store from there.
            self._behind.update(block.key for block in blocks)
            connection.close()
            logger.warning("the candle store or Postgres is away, trying again: %s", _first_line(problem))
            return False
        return True

    def _refill(self, keys: set[Key], at_once: int) -> None:
        wanted = list(islice(keys, at_once))
        self._store.refill(wanted)
        keys.difference_update(wanted)
        if wanted:
            logger.info("candle store: %d keys loaded from Postgres, %d to go", len(wanted), len(keys))

    def _publish(self, watermarks: Mapping[str, int], late: list[int]) -> None:
        if not watermarks:
            return
        try:
            was_there = watermark.publish(watermarks, late)
        except RedisError as problem:
            logger.warning("the watermark is not published: %s", _first_line(problem))
            return
        if self._has_published and not was_there:
            logger.warning("the live store was emptied: filling it from Postgres")
            self._emptied.update(self.keys)
        self._has_published = True


def _close_connection() -> None:
    """Of the thread that calls it."""
    connection.close()


def _first_line(problem: Exception) -> str:
    return str(problem).partition("\n")[0]
