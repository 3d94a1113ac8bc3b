"""How many handshakes a web process works on at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Any, Final, cast

from live.counters import counters
from live.messages import CLOSE_TRY_AGAIN

# Of a handshake most is waiting: a tenth of a second to ask together with others (`live.together`), and turns of the
# event loop. Twice the threads left the threads idle, and let in half as many a second; 64 let in as many as no bound.
PLACES: Final = 64
# Seconds. A page gives up after 45 s of silence; who is told before that comes back as one who was told.
PATIENCE: Final = 40.0
# More than these do not wait at all: they would only hold memory until they are sent away.
MOST_WAITING: Final = 10_000
# What one who waits may say until he is heard no more, and the server's buffers hold him back. A page says a ping or two.
MOST_HEARD: Final = 10


class Admission:
    """ASGI middleware for WebSockets: at most `places` handshakes go on at a time, the others wait in their order.

    Without a bound, thousands that come back together advance together, and where that takes longer than a browser's
    patience hardly any is let in: each gives up, the work done for it is lost, and it comes back for more.

    A place is free again with the first word to the socket after it was accepted (hello, or a close), or when the
    application ends. Nobody is refused at the door; who has waited `patience` seconds is closed with 1013, and who leaves
    waits no more.
    """

    def __init__(self, application: Any, *, places: int = PLACES, patience: float = PATIENCE) -> None:
        self._application = application
        self._free = places
        self._turns: deque[asyncio.Future[None]] = deque()
        self._patience = patience

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        heard: list[Any] = []
        has_waited = not self._free
        if not has_waited:
            self._free -= 1
        else:
            # Before the wait: some browsers give up a handshake sooner than an open socket, and are told no code of one
            # that was refused.
            await send({"type": "websocket.accept"})
            if counters.waiting >= MOST_WAITING or not await self._wait(receive, heard):
                if not _is_gone(heard):
                    counters.sent_away += 1
                    await send({"type": "websocket.close", "code": CLOSE_TRY_AGAIN, "reason": "too many at once"})
                return
        await self._let_in(scope, receive, send, heard, is_accepted=has_waited)

    async def _wait(self, receive: Any, heard: list[Any]) -> bool:
        """Whether there was a place in time, for one who is still there. `heard` gets what was said meanwhile."""
        counters.waiting += 1
        turn = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        leaving = asyncio.create_task(_hear_until_gone(receive, heard))
        is_let_in = False
        try:
            await asyncio.wait({turn, leaving}, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            await asyncio.wait({leaving})  # from here on the application hears, and nobody else
            is_let_in = turn.done() and not _is_gone(heard)
        finally:
            counters.waiting -= 1
            leaving.cancel()
            if not turn.cancel() and not is_let_in:
                self._give_back()  # it came just as he left
        return is_let_in

    def _give_back(self) -> None:
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():  # as it is of those who left
                turn.set_result(None)
                return
        self._free += 1

    async def _let_in(self, scope: Any, receive: Any, send: Any, heard: list[Any], *, is_accepted: bool) -> None:
        has_place = True

        def give_back() -> None:
            nonlocal has_place
            if has_place:
                has_place = False
                self._give_back()

        async def hear() -> Any:
            return heard.pop(0) if heard else await receive()

        def say(message: Any) -> Awaitable[None]:
            # In the way of every later frame too: so it hands on the server's coroutine instead of being one more.
            if has_place:
                if message["type"] != "websocket.accept":
                    give_back()
                elif is_accepted:
                    return _nothing()
            return cast("Awaitable[None]", send(message))

        try:
            await self._application(scope, hear, say)
        finally:
            give_back()


async def _hear_until_gone(receive: Any, heard: list[Any]) -> None:
    while not _is_gone(heard):
        if len(heard) == MOST_HEARD:
            await asyncio.Event().wait()
        heard.append(await receive())


def _is_gone(heard: list[Any]) -> bool:
    return bool(heard) and heard[-1]["type"] == "websocket.disconnect"


async def _nothing() -> None:
    pass
