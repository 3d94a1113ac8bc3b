"""Kline streams of many symbols: few connections, watched, renewed before the exchange ends them, never given up."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from engine.candles import TIMEFRAMES
from exchanges.base import Connected, Disconnected, KlineEvent, Malformed, StreamItem, TemporaryError
from exchanges.binance.frames import UnreadableFrame, read_frame

logger = logging.getLogger(__name__)

# Binance: 1,024 streams a connection and 5 messages a second, of which its pings' pongs take their share.
STREAMS_PER_CONNECTION = 1_000
NAMES_PER_MESSAGE = 200
MESSAGE_PAUSE_SECONDS = 0.25
MAX_FRAME_BYTES = 2**22
# So many items wait for the consumer; after that forming candles are left out and closed ones hold up the reading.
QUEUE_SIZE = 20_000
FRAMES_AHEAD = 2_048
EXCERPT = 200
# What connecting may end in.
UNREACHABLE = (WebSocketException, OSError, TimeoutError, TemporaryError)


@dataclass(frozen=True, slots=True)
class StreamTimings:
    """How patient a stream is, in seconds. The defaults suit Binance, which ends every connection after 24 hours.

    `silence`: a connection that brings no message for so long is dead, whatever TCP says.
    `answer`: time to open a connection, and for the answer to each SUBSCRIBE.
    `lifetime`: a connection is replaced, without a gap, after this much and up to a tenth more.
    `first_wait`, `longest_wait`: the wait before a new try doubles from one to the other, with jitter.
    """

    silence: float = 60.0
    answer: float = 10.0
    lifetime: float = 21 * 3600.0
    first_wait: float = 1.0
    longest_wait: float = 60.0


class Backoff:
    """Waits that double from `first` to `longest` seconds, with jitter: many clients must not come back at once."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._failures = 0

    def next(self) -> float:
        """Seconds to wait before the next try."""
        wait = min(self._longest, math.ldexp(self._first, min(self._failures, 60)))
        self._failures += 1
        return wait * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """All is well: the next wait is a short one."""
        self._failures = 0


class KlineStreams:
    """Opens streams and remembers their tasks, to end them all at once."""

    def __init__(self, url: str, timings: StreamTimings) -> None:
        if not url.startswith(("ws://", "wss://")):
            raise ValueError(f"a stream's address begins with ws:// or wss://, not {url}")
        self._url = url
        self._timings = timings
        self._tasks: set[asyncio.Task[None]] = set()

    async def items(self, symbols: Iterable[str], timeframe: str) -> AsyncGenerator[StreamItem, None]:
        """The merged items of as many connections as are needed; ends when `close` is called."""
        if timeframe not in TIMEFRAMES:
            raise ValueError(f"unknown timeframe {timeframe!r}")
        wanted = list(dict.fromkeys(symbols))
        queue: asyncio.Queue[StreamItem] = asyncio.Queue(QUEUE_SIZE)
        shards = [
            wanted[start : start + STREAMS_PER_CONNECTION] for start in range(0, len(wanted), STREAMS_PER_CONNECTION)
        ]
        tasks = {
            asyncio.create_task(_Shard(self._url, shard, timeframe, self._timings, queue).run()) for shard in shards
        }
        self._tasks |= tasks
        try:
            while (item := queue.get_nowait() if not queue.empty() else await _next(queue, tasks)) is not None:
                yield item
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tasks -= tasks

    def close(self) -> None:
        """Ends every stream."""
        for task in self._tasks:
            task.cancel()


async def _next(queue: asyncio.Queue[StreamItem], tasks: set[asyncio.Task[None]]) -> StreamItem | None:
    """The next item, or None once the tasks were cancelled. They end in no other way but by an error of ours."""
    getting = asyncio.create_task(queue.get())
    try:
        await asyncio.wait({getting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        if getting.done():
            return getting.result()
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()
        return None
    finally:
        getting.cancel()


@dataclass(frozen=True, slots=True)
class _Link:
    """A subscribed connection, and the task that reads it and ends with the reason why it could not go on."""

    socket: ClientConnection
    reading: asyncio.Task[str]

    async def close(self) -> None:
        self.reading.cancel()
        await asyncio.gather(self.reading, return_exceptions=True)
        await self.socket.close()

    async def drain(self, patience: float) -> bool:
        """Closes politely and lets what has already come be read. False if that took too long."""
        await self.socket.close()
        await asyncio.wait({self.reading}, timeout=patience)
        return self.reading.done()


class _Shard:
    """One connection's worth of symbols, kept connected for ever."""

    def __init__(
        self, url: str, symbols: list[str], timeframe: str, timings: StreamTimings, queue: asyncio.Queue[StreamItem]
    ) -> None:
        self._url = f"{url}/stream"
        self._symbols = frozenset(symbols)
        self._names = [f"{symbol.lower()}@kline_{timeframe}" for symbol in symbols]
        self._timeframe = timeframe
        self._timings = timings
        self._queue = queue
        self._backoff = Backoff(timings.first_wait, timings.longest_wait)

    async def run(self) -> None:
        """Connects, follows the connection to its end, waits, and begins again."""
        while True:
            try:
                link = await self._open()
            except UNREACHABLE as error:
                await self._queue.put(Disconnected(self._symbols, f"cannot connect: {error or type(error).__name__}"))
            else:
                reason = await self._follow(link)
                await self._queue.put(Disconnected(self._symbols, reason))
            await asyncio.sleep(self._backoff.next())

    async def _follow(self, link: _Link) -> str:
        """Lets a connection be read until it fails; one that has grown old is replaced without a gap."""
        links = [link]
        try:
            await self._queue.put(Connected(self._symbols))
            while True:
                await asyncio.wait({link.reading}, timeout=self._timings.lifetime * random.uniform(1.0, 1.1))
                # While a new one cannot be had, the old one goes on.
                while not link.reading.done() and len(links) < 2:
                    links += await self._replacement(link)
                if link.reading.done():
                    return link.reading.result()
                # Now both bring the same candles: a candle that comes twice is the same candle.
                if not await link.drain(self._timings.answer):
                    await self._queue.put(Connected(self._symbols))  # something may have been missed after all
                await link.close()
                del links[0]
                (link,) = links
        finally:
            for each in links:
                await each.close()

    async def _replacement(self, link: _Link) -> list[_Link]:
        """A second connection, or none, and then some waiting is over."""
        try:
            return [await self._open()]
        except UNREACHABLE as error:
            logger.warning("could not replace a connection of %d streams: %s", len(self._names), error)
            await asyncio.wait({link.reading}, timeout=self._backoff.next())
            return []

    async def _open(self) -> _Link:
        """A connection on which every name's subscription was confirmed."""
        socket = await connect(
            self._url,
            open_timeout=self._timings.answer,
            close_timeout=1,
            ping_interval=None,  # the exchange pings, and silence is what we watch
            compression=None,
            max_size=MAX_FRAME_BYTES,
            max_queue=FRAMES_AHEAD,
            proxy=None,
        )
        try:
            await self._subscribe(socket)
        except BaseException:
            await socket.close()
            raise
        return _Link(socket, asyncio.create_task(self._read(socket)))

    async def _subscribe(self, socket: ClientConnection) -> None:
        for number, start in enumerate(range(0, len(self._names), NAMES_PER_MESSAGE), 1):
            if number > 1:
                await asyncio.sleep(MESSAGE_PAUSE_SECONDS)
            names = self._names[start : start + NAMES_PER_MESSAGE]
            message = {"method": "SUBSCRIBE", "params": names, "id": number}
            await socket.send(msgspec.json.encode(message), text=True)
            async with asyncio.timeout(self._timings.answer):
                # What is subscribed already sends candles in between.
                while await self._take(await socket.recv(decode=False)) != number:
                    pass

    async def _read(self, socket: ClientConnection) -> str:
        """Takes frames until the connection fails, and tells why it did."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timings.silence
        try:
            while True:
                async with asyncio.timeout_at(deadline):
                    raw = await socket.recv(decode=False)
                # Garbage is no sign of life.
                if await self._take(raw) is not None:
                    deadline = loop.time() + self._timings.silence
        except TimeoutError:
            return f"silent for {self._timings.silence:g} s"
        except (WebSocketException, TemporaryError) as error:
            return str(error)

    async def _take(self, raw: bytes) -> KlineEvent | int | None:
        """Passes a candle on and gives it; gives the id of an answer, or None for a frame that cannot be read."""
        try:
            read = read_frame(raw)
            if isinstance(read, KlineEvent) and (read.symbol not in self._symbols or read.timeframe != self._timeframe):
                raise UnreadableFrame("a candle that nobody asked for")
        except UnreadableFrame as error:
            await self._queue.put(Malformed(raw[:EXCERPT].decode(errors="replace"), str(error)))
            return None
        if isinstance(read, KlineEvent):
            self._backoff.reset()
            # A consumer that cannot keep up gets fewer forming candles, and every closed one.
            if read.is_closed or not self._queue.full():
                await self._queue.put(read)
        return read
