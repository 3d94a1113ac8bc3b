"""How many requests a web process answers at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.db import connection

# As asgiref has it for Django and Channels: what passes through is not ours to type.
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]

PATIENCE: Final = 20.0  # seconds; a visitor who waited longer has gone, or asks again
MOST_WAITING: Final = 500  # each with at most 64 KB of a body, which is what the server hands over at once

FULL: Final = b"Too many people ask at once. Try again in a moment.\n"


class Turnstile:
    """An ASGI application in front of Django's: at most `places` requests are answered at a time, the others wait.

    Under ASGI each request has a thread of its own, and with it a connection: without a bound, a rush of visitors takes
    every connection Postgres has, and sweeps fail. Who waits has neither. Who waited `patience` seconds, or finds
    `most_waiting` in front of him, gets a 503; who leaves waits no more. Place and connection are given back before the
    answer is sent: one who reads slowly holds neither.
    """

    def __init__(
        self, application: Application, *, places: int, most_waiting: int = MOST_WAITING, patience: float = PATIENCE
    ) -> None:
        self._application = application
        self._places = asyncio.Semaphore(places)
        self._most_waiting = most_waiting
        self._patience = patience
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        heard: list[Any] = []
        if not self._places.locked():
            await self._places.acquire()  # at once
        elif self._waiting >= self._most_waiting:
            await _refuse(send)
            return
        elif not await self._wait(receive, heard):
            if not heard or heard[-1]["type"] != "http.disconnect":
                await _refuse(send)
            return
        await self._let_in(scope, receive, send, heard)

    async def _wait(self, receive: Receive, heard: list[Any]) -> bool:
        """Whether there was a place in time. `heard` gets what the visitor said meanwhile."""
        self._waiting += 1
        entering = asyncio.create_task(self._places.acquire())
        leaving = asyncio.create_task(_hear_until_gone(receive, heard))
        both = {entering, leaving}
        try:
            await asyncio.wait(both, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if entering.done():
                self._places.release()
            raise
        finally:
            self._waiting -= 1
            for task in both:
                task.cancel()
            await asyncio.wait(both)
        return not entering.cancelled()

    async def _let_in(self, scope: Scope, receive: Receive, send: Send, heard: list[Any]) -> None:
        has_place = True

        def give_back() -> None:
            nonlocal has_place
            if has_place:
                has_place = False
                self._places.release()

        async def hear() -> Any:
            return heard.pop(0) if heard else await receive()

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                # In the request's own thread, as Django sends from within its context.
                await sync_to_async(_close_connection)()
                give_back()
            await send(message)

        try:
            await self._application(scope, hear, answer)
        finally:
            give_back()


async def _hear_until_gone(receive: Receive, heard: list[Any]) -> None:
    """Ends when the visitor has gone. Of a long body no more than the beginning is taken from the server."""
    while not heard or heard[-1]["type"] != "http.disconnect":
        heard.append(await receive())
        if heard[-1].get("more_body"):
            await asyncio.Event().wait()


def _close_connection() -> None:
    if not connection.in_atomic_block:  # as it is where a test's own transaction goes round the request
        connection.close_if_unusable_or_obsolete()


async def _refuse(send: Send) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(FULL)),
        (b"cache-control", b"no-store"),
        (b"retry-after", b"5"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": FULL})
