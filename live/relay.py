"""From Redis and Postgres to the sockets of this process: one relay per event loop that speaks to browsers."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, KeysView, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar, cast

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from live.counters import counters
from live.frames import Delivery, EncodedFrame, decode_batch, encode, identity_of, identity_of_signal, read
from live.groups import MARKET_GROUP, is_private
from live.layer import LiveChannelLayer
from live.publish import CHANNEL

_TIMEOUT: Final = 5.0  # seconds, for connecting and for any answer of Redis
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
# How long the sockets of this process may be kept from writing and reading by one batch.
_TURN: Final = 0.01

logger = logging.getLogger(__name__)


class Delivered:
    """The identities of what was delivered in the last `window` seconds, and up to twice as long.

    Two sets, the older one forgotten whole: bounded in time, and by `limit` in number. A window covers the time from a
    verdict's hint to the close of its sweep, which is when `catch_up` gives the same verdict again.
    """

    def __init__(self, *, window: float = 300.0, limit: int = 250_000) -> None:
        self._window = window
        self._limit = limit
        self._recent: set[int] = set()
        self._older: set[int] = set()
        self._turned_at = time.monotonic()

    def __contains__(self, identity: int | None) -> bool:
        return identity in self._recent or identity in self._older

    def add(self, identity: int | None) -> bool:
        """Whether this is new. None always is."""
        if identity is None:
            return True
        if identity in self:
            return False
        if len(self._recent) >= self._limit or time.monotonic() - self._turned_at > self._window:
            self._older, self._recent = self._recent, set()
            self._turned_at = time.monotonic()
        self._recent.add(identity)
        return True


class Wanted:
    """What the sockets of this process have not been told yet. May be asked from any thread.

    It is asked after the question what was written, never before: who joins a group later than that asks Postgres by
    himself, and finds there what is left out here.
    """

    def __init__(self, joined: KeysView[str], delivered: Delivered) -> None:
        self._joined = joined
        self._delivered = delivered

    def groups(self) -> frozenset[str]:
        """The groups that somebody here is in."""
        return frozenset(self._joined)  # one step, for the event loop too, which changes them meanwhile

    def lacks(self, group: str, configuration: int, ticker: str, closed_at: int) -> bool:
        """Whether this verdict (closed_at in ms) was not delivered to the group. Where it errs, it says yes."""
        return identity_of_signal(group, configuration, ticker, closed_at) not in self._delivered


Cursor = TypeVar("Cursor")
CatchUp = Callable[[Cursor | None, Wanted], Awaitable[tuple[Sequence[Delivery], Cursor]]]
"""What was written since the cursor, in order, and the next cursor. None, at first, means: from now on.

What is not wanted may be left out; what is given nevertheless is given in vain."""


class Relay(Generic[Cursor]):
    """Delivers each frame once to this process's members of its group, whether the hint or Postgres told of it first."""

    def __init__(
        self,
        *,
        layer: LiveChannelLayer,
        url: str,
        catch_up: CatchUp[Cursor],
        catch_up_every: float = 1.0,
        silence: float = 5.0,
    ) -> None:
        """`url` is the live Redis. After `silence` seconds without a message Redis is asked whether it is there.

        While it hangs, a verdict waits for its sweep's last ticker, whose worker may wait 2 s for Redis; at most 5 s for the
        look of `close_sweeps`; and for `catch_up_every`. What is left of the promised 10 s is for the work itself. With no news
        a look is two short round trips to Postgres.
        """
        self._layer = layer
        self._url = url
        self._catch_up = catch_up
        self._catch_up_every = catch_up_every
        self._silence = silence
        self._delivered = Delivered()
        self._look = asyncio.Event()
        self._pause = _SHORTEST_PAUSE

    async def run(self) -> None:
        """Runs until cancelled. Neither Redis nor Postgres being away ends it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._refill())

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except (RedisError, OSError) as error:
                logger.warning("the relay lost its Redis connection: %s", type(error).__name__)
            await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    async def _hear(self) -> None:
        """One connection, until it fails."""
        async with AsyncExitStack() as closing:
            # Reconnecting is ours, so that each new connection is followed by a look into Postgres. So are the time-outs:
            # redis-py's own is an asyncio.wait_for, which on Python 3.11 may swallow the cancellation that ends us.
            client = Redis.from_url(
                self._url,
                socket_timeout=None,
                socket_connect_timeout=_TIMEOUT,
                retry=Retry(NoBackoff(), 0),
                protocol=2,  # with 3, redis-py makes a text of every batch for a line of its log that nobody reads
            )
            closing.push_async_callback(client.aclose)
            pubsub = client.pubsub()
            closing.push_async_callback(pubsub.aclose)
            async with asyncio.timeout(_TIMEOUT):
                await pubsub.subscribe(CHANNEL)
            is_asked = False
            while True:
                message = await pubsub.get_message(timeout=self._silence)
                if message is None:
                    if is_asked:
                        raise TimeoutError("Redis does not answer")
                    await _ask(pubsub)
                    is_asked = True
                    continue
                is_asked = False
                if message["type"] == "subscribe":
                    # From here on nothing is missed: what was published before this is looked up.
                    counters.connected += 1
                    self._pause = _SHORTEST_PAUSE
                    self._look.set()
                elif message["type"] == "message":
                    await self._deliver_batch(message["data"])

    async def _deliver_batch(self, data: bytes) -> None:
        counters.batches += 1
        try:
            batch = decode_batch(data)
        except (msgspec.DecodeError, RecursionError) as error:
            counters.malformed += 1
            logger.warning("a batch of %d bytes was not understood: %s", len(data), error)
            return
        if batch.published_at is not None:
            counters.lag_seconds = max(0.0, time.time() - batch.published_at)
        joined = self._layer.joined()
        turn_ends = time.monotonic() + _TURN
        for group, encoded in batch.frames:
            # In one web process of many, most are nobody's. Who joins later asks Postgres what there was.
            if group not in joined and group != MARKET_GROUP:
                continue
            try:
                frame = read(group, encoded)
            except (msgspec.DecodeError, RecursionError) as error:
                counters.malformed += 1
                logger.warning("a frame for %s was not understood: %s", group, error)
                continue
            if self._deliver(group, frame) and frame.type == "sweep_closed":
                # A worker that died between commit and publish is missed now, and not only at the next tick.
                self._look.set()
                self._log_closing(group, frame)
            if time.monotonic() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = time.monotonic() + _TURN

    def _deliver(self, group: str, frame: EncodedFrame) -> bool:
        if not self._delivered.add(frame.identity):
            counters.repeated += 1
            return False
        self._layer.deliver(group, frame)
        return True

    def _log_closing(self, group: str, frame: EncodedFrame) -> None:
        """The last line of a sweep in the log. Private feeds may close by the thousand."""
        _, _, feed = cast("tuple[str, str, str]", frame.key)
        slot = datetime.fromtimestamp(frame.order / 1000, UTC).isoformat()
        level = logging.DEBUG if is_private(group) else logging.INFO
        logger.log(level, "sweep closed, and the sockets of this process told", extra={"feed": feed, "slot": slot})

    async def _refill(self) -> None:
        cursor: Cursor | None = None
        has_failed = False
        wanted = Wanted(self._layer.joined(), self._delivered)
        while True:
            try:
                deliveries, cursor = await self._catch_up(cursor, wanted)
            except Exception as error:
                counters.refill_failures += 1
                # The whole story once: with Postgres away it is the same every second.
                logger.error(
                    "the relay could not ask for what it missed; it asks again: %r", error, exc_info=not has_failed
                )
                has_failed = True
            else:
                has_failed = False
                counters.looked_at = time.time()
                await self._deliver_refill(deliveries)
            await self._next_look()

    async def _deliver_refill(self, deliveries: Sequence[Delivery]) -> None:
        joined = self._layer.joined()
        turn_ends = time.monotonic() + _TURN
        for group, frame in deliveries:
            if group not in joined and group != MARKET_GROUP:
                continue
            if identity_of(group, frame) in self._delivered:
                counters.repeated += 1
            elif self._deliver(group, encode(group, frame)):
                counters.refilled += 1
            if time.monotonic() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = time.monotonic() + _TURN

    async def _next_look(self) -> None:
        """Waits for the next tick, or for a reason to look before it: a new connection to Redis, a closed sweep."""
        try:
            async with asyncio.timeout(self._catch_up_every):
                await self._look.wait()
        except TimeoutError:
            return
        self._look.clear()


async def _ask(pubsub: PubSub) -> None:
    async with asyncio.timeout(_TIMEOUT):
        answer: Awaitable[Any] = pubsub.ping()
        await answer
