"""How many visitors are answered at once, who waits, and who is sent away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connection

from boritrader.turnstile import Turnstile

REQUEST = {"type": "http.request", "body": b"name=alice", "more_body": False}
GONE = {"type": "http.disconnect"}


class Office:
    """An application that answers each visitor when it is told to."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.most_inside = 0
        self.bodies: list[bytes] = []
        self.may_answer = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.inside.append(scope["path"])
        self.most_inside = max(self.most_inside, len(self.inside))
        try:
            self.bodies.append((await receive())["body"])
            await self.may_answer.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.inside.remove(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


class Visitor:
    def __init__(self, turnstile: Turnstile, path: str = "/", *, reads: bool = True) -> None:
        self._says: asyncio.Queue[Any] = asyncio.Queue()
        self._says.put_nowait(REQUEST)
        self._reads = asyncio.Event()
        if reads:
            self._reads.set()
        self.statuses: list[int] = []
        self.is_told = asyncio.Event()
        self.task = asyncio.create_task(turnstile({"type": "http", "path": path}, self._says.get, self._hear))

    def leave(self) -> None:
        self._says.put_nowait(GONE)

    def read(self) -> None:
        self._reads.set()

    async def answer(self) -> list[int]:
        """The status given, once all is over; empty if nothing was said."""
        async with asyncio.timeout(10):
            await self.task
        return self.statuses

    async def _hear(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.statuses.append(message["status"])
            self.is_told.set()
        await self._reads.wait()


async def settle() -> None:
    """Lets everybody go as far as he can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_no_more_than_the_places_are_inside_and_everybody_is_answered() -> None:
    office = Office()
    office.may_answer.set()
    turnstile = Turnstile(office, places=3)

    visitors = [Visitor(turnstile, f"/{number}") for number in range(50)]

    assert [await visitor.answer() for visitor in visitors] == [[200]] * 50
    assert office.most_inside <= 3
    assert office.bodies == [b"name=alice"] * 50  # what was heard while they waited is handed on


async def test_whoever_comes_beyond_the_waiters_is_sent_away_at_once() -> None:
    office = Office()
    turnstile = Turnstile(office, places=1, most_waiting=1)
    inside, waiting = Visitor(turnstile, "/inside"), Visitor(turnstile, "/waiting")
    await settle()

    assert await Visitor(turnstile, "/late").answer() == [503]

    assert office.inside == ["/inside"]
    office.may_answer.set()
    assert [await inside.answer(), await waiting.answer()] == [[200], [200]]


async def test_whoever_has_waited_long_enough_is_sent_away() -> None:
    office = Office()
    turnstile = Turnstile(office, places=1, patience=0.05)
    inside = Visitor(turnstile)
    await settle()

    assert await Visitor(turnstile).answer() == [503]

    office.may_answer.set()
    assert await inside.answer() == [200]
    assert await Visitor(turnstile).answer() == [200]  # the place was not lost


async def test_a_visitor_who_has_left_waits_no_more_and_is_told_nothing() -> None:
    office = Office()
    turnstile = Turnstile(office, places=1, most_waiting=1)
    inside, waiting = Visitor(turnstile, "/inside"), Visitor(turnstile, "/waiting")
    await settle()

    waiting.leave()

    assert await waiting.answer() == []
    next_one = Visitor(turnstile, "/next")  # in his stead
    await settle()
    office.may_answer.set()
    assert [await inside.answer(), await next_one.answer()] == [[200], [200]]
    assert len(office.bodies) == 2


async def test_a_request_that_is_cancelled_while_it_waits_takes_no_place_with_it() -> None:
    office = Office()
    turnstile = Turnstile(office, places=1, most_waiting=1)
    inside, waiting = Visitor(turnstile), Visitor(turnstile)
    await settle()

    waiting.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting.task

    office.may_answer.set()
    assert await inside.answer() == [200]
    assert await Visitor(turnstile).answer() == [200]


async def test_a_place_is_given_back_after_an_exception() -> None:
    office = Office()
    office.may_answer.set()
    office.error = KeyError("a fault of ours")
    turnstile = Turnstile(office, places=1, patience=0.05)
    for _ in range(3):
        with pytest.raises(KeyError):
            await Visitor(turnstile).answer()

    office.error = None

    assert await Visitor(turnstile).answer() == [200]


async def test_one_who_reads_slowly_keeps_nobody_waiting() -> None:
    office = Office()
    office.may_answer.set()
    turnstile = Turnstile(office, places=1, most_waiting=0)
    slow = Visitor(turnstile, reads=False)
    await slow.is_told.wait()

    assert await Visitor(turnstile).answer() == [200]

    slow.read()
    assert await slow.answer() == [200]


@pytest.mark.django_db(transaction=True)
async def test_the_connection_is_closed_before_the_answer_is_read() -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        async with ThreadSensitiveContext():  # as Django's
            await sync_to_async(connection.ensure_connection)()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            open_still.append(await sync_to_async(lambda: connection.connection is not None)())

    open_still: list[bool] = []
    assert await Visitor(Turnstile(page, places=1)).answer() == [200]

    assert open_still == [False]
