"""The outgoing side of one WebSocket: everything sent to it goes through here, in order, and nobody waits for its reader.

ASGI's `send` is a coroutine, but as long as the transport has room it runs from start to end without suspending. So
`deliver` drives it by hand, without a task: that is what makes a broadcast cheap. A `send` that suspends has met a
reader who does not keep up; the suspended coroutine goes to a task of its own, and until that is through later frames
are kept aside, the newest of each line.
"""

from __future__ import annotations

import asyncio
import logging
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from typing import Any, Final

from live.counters import counters
from live.frames import EncodedFrame, message_of, text_of
from live.messages import CLOSE_TOO_SLOW, WIRE_VERSION

Send = Callable[[Any], Awaitable[None]]
"""ASGI's `send`. It must be a coroutine function, which all servers' are."""

GIVE_UP_AFTER: Final = 10.0
# Frames kept whole for a socket that is held; beyond them only the newest of each line.
MOST_HELD: Final = 20_000

logger = logging.getLogger(__name__)


class Socket:
    """One accepted WebSocket, written to from one event loop.

    It starts held: what is delivered is kept until `release`, so that a socket may join its groups before its first
    frame (`hello`) is made. `give_up_after` is how many seconds a reader may take for a single frame.
    """

    def __init__(self, send: Send, *, give_up_after: float = GIVE_UP_AFTER) -> None:
        self._send = send
        self._give_up_after = give_up_after
        self._is_open = True
        self._is_held = True
        self._kept: dict[Hashable, EncodedFrame] = {}
        self._dropped = 0
        self._writer: asyncio.Task[None] | None = None
        self._closer: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """False once a close was sent or the peer was found to be gone."""
        return self._is_open

    def deliver(self, frame: EncodedFrame) -> None:
        """Writes the frame, or keeps it while the reader is behind. Never waits, never raises."""
        if not self._is_open:
            return
        if self._is_held or self._writer is not None:
            self._keep(frame)
        else:
            self._write(frame.message)

    async def send(self, message: dict[str, Any]) -> None:
        """Writes an ASGI message after everything before it, and waits until the reader has caught up.

        For the socket's own connection only: what it says itself (accept, replies, a replay) is never dropped.
        """
        await self._caught_up()
        if not self._is_open:
            return
        self._write(message)
        if message["type"] == "websocket.close":
            self._stop()
        await self._caught_up()

    def release(self) -> None:
        """Ends the hold: what was delivered meanwhile is written now."""
        self._is_held = False
        while self._is_open and self._writer is None and (waiting := self._next()):
            self._write(waiting)

    def end(self) -> None:
        """The connection is gone: forget what was still to be written."""
        self._stop()
        for task in (self._writer, self._closer):
            if task is not None:
                task.cancel()

    def _write(self, message: dict[str, Any]) -> None:
        write: Any = self._send(message)
        try:
            waits_for = write.send(None)
        except StopIteration:
            counters.sent += 1
        except (OSError, RuntimeError) as error:
            self._lose(error)
        else:
            counters.slow += 1
            self._writer = asyncio.create_task(self._drain(_resumed(write, waits_for)))

    async def _drain(self, write: Awaitable[None]) -> None:
        try:
            await self._in_time(write)
            while self._is_open and (message := self._next()):
                await self._in_time(self._send(message))
        except TimeoutError:
            self._give_up()
        except (OSError, RuntimeError) as error:
            self._lose(error)
        finally:
            self._writer = None

    async def _in_time(self, write: Awaitable[None]) -> None:
        async with asyncio.timeout(self._give_up_after):
            await write
        counters.sent += 1

    async def _caught_up(self) -> None:
        while self._is_open and (writer := self._writer) is not None:
            await asyncio.wait({writer})

    def _keep(self, frame: EncodedFrame) -> None:
        # A held socket is not a slow one: it gets everything, such as the two candles of a pair that a relay's first look
        # into Postgres may find.
        key = (frame.key, frame.order) if self._is_held and len(self._kept) < MOST_HELD else frame.key
        older = self._kept.pop(key, None)
        if older is None:
            counters.kept += 1
        elif frame.type == "signal":  # of anything else the newest is all there is to know
            self._dropped += 1
            counters.dropped += 1
        # Put at the end, so that a `sweep_closed` still follows the results it speaks of.
        self._kept[key] = older if older is not None and older.order > frame.order else frame

    def _next(self) -> dict[str, Any] | None:
        if self._kept:
            return self._kept.pop(next(iter(self._kept))).message
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            return _gap(dropped)
        return None

    def _give_up(self) -> None:
        abandoned = len(self._kept) + 1  # and the one that was being written
        dropped = self._dropped + abandoned
        self._stop()
        counters.too_slow += 1
        counters.abandoned += abandoned
        self._closer = asyncio.create_task(self._close_too_slow(dropped))

    async def _close_too_slow(self, dropped: int) -> None:
        """The server sends even a close only when its buffer has room. The peer gets it if it ever reads again."""
        try:
            await self._send(_gap(dropped))
            await self._send({"type": "websocket.close", "code": CLOSE_TOO_SLOW, "reason": "reads too slowly"})
        except (OSError, RuntimeError) as error:
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        """Servers raise an OSError, or RuntimeError after their own close, when the peer is gone. It costs this socket."""
        logger.info("a socket was lost while writing to it: %r", error)
        counters.gone += 1
        self._stop()

    def _stop(self) -> None:
        self._is_open = False
        self._kept.clear()
        self._dropped = 0


def _gap(dropped: int) -> dict[str, Any]:
    return message_of(text_of({"type": "gap", "v": WIRE_VERSION, "dropped": dropped}))


@types.coroutine
def _resumed(write: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, None, None]:
    """Goes on with a coroutine that was started by hand and now waits for `waits_for`."""
    try:
        yield waits_for
    except BaseException:
        write.close()
        raise
    yield from write
