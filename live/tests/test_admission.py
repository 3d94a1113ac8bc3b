"""How many handshakes go on at once, who waits, and who is sent away."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from websockets.exceptions import ConnectionClosed

from live.admission import MOST_HEARD, Admission
from live.counters import counters
from live.messages import CLOSE_TRY_AGAIN
from live.tests.web import FollowConsumer, WebProcess, alice, bob

ACCEPT = {"type": "websocket.accept"}
HELLO = {"type": "websocket.send", "text": "hello"}
PING = {"type": "websocket.receive", "text": "ping"}
GONE = {"type": "websocket.disconnect", "code": 1001}


@pytest.fixture(autouse=True)
def _nobody_is_left_waiting() -> Iterator[None]:
    before = counters.waiting
    yield
    assert counters.waiting == before


class House:
    """An application that greets each socket when it may, and keeps it until it leaves."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self.most_at_once = 0
        self.said: list[Any] = []
        self.may_greet = asyncio.Event()
        self.error: Exception | None = None
        self.closes_with: int | None = None
        self._at_once = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.came.append(scope["path"])
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            assert (await receive())["type"] == "websocket.connect"
            await send(ACCEPT)
            await self.may_greet.wait()
            if self.error is not None:
                raise self.error
        finally:
            self._at_once -= 1
        if self.closes_with is not None:
            await send({"type": "websocket.close", "code": self.closes_with})
            return
        await send(HELLO)
        while (message := await receive())["type"] != "websocket.disconnect":
            self.said.append(message)


class Guest:
    """One socket in front of the house."""

    def __init__(self, admission: Admission, path: str = "/") -> None:
        self._says: asyncio.Queue[Any] = asyncio.Queue()
        self.say({"type": "websocket.connect"})
        self.heard: list[Any] = []
        self._is_greeted = asyncio.Event()
        self.task = asyncio.create_task(admission({"type": "websocket", "path": path}, self._says.get, self._hear))

    def say(self, message: Any) -> None:
        self._says.put_nowait(message)

    def unheard(self) -> int:
        return self._says.qsize()

    async def leave(self) -> list[Any]:
        self.say(GONE)
        return await self.end()

    async def leave_greeted(self) -> list[Any]:
        """Stays until the greeting, and leaves then."""
        async with asyncio.timeout(10):
            await self._is_greeted.wait()
        return await self.leave()

    async def end(self) -> list[Any]:
        """All that was said to the socket, once it is over."""
        async with asyncio.timeout(10):
            await self.task
        return self.heard

    async def _hear(self, message: Any) -> None:
        self.heard.append(message)
        if message == HELLO:
            self._is_greeted.set()


async def settle() -> None:
    """Lets everybody go as far as he can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_no_more_than_the_places_go_on_at_once_in_the_order_they_came() -> None:
    house = House()
    admission = Admission(house, places=3)
    guests = [Guest(admission, f"/{number}") for number in range(50)]
    await settle()
    assert house.came == ["/0", "/1", "/2"]

    house.may_greet.set()

    assert [await guest.leave_greeted() for guest in guests] == [[ACCEPT, HELLO]] * 50
    assert house.most_at_once == 3
    assert house.came == [f"/{number}" for number in range(50)]


async def test_a_greeted_socket_stays_and_holds_no_place() -> None:
    house = House()
    house.may_greet.set()
    admission = Admission(house, places=1, patience=0.05)
    first, second = Guest(admission), Guest(admission)
    await settle()

    assert first.heard == second.heard == [ACCEPT, HELLO]
    assert not first.task.done()
    await first.leave_greeted()
    await second.leave_greeted()


async def test_what_is_said_to_one_who_waits_is_handed_on_in_order_and_later_words_follow() -> None:
    house = House()
    admission = Admission(house, places=1)
    inside, waiting = Guest(admission), Guest(admission)
    await settle()
    words = [{**PING, "text": str(number)} for number in range(5)]
    for word in words[:3]:
        waiting.say(word)
    await settle()

    house.may_greet.set()
    for word in words[3:]:
        waiting.say(word)
    await settle()

    assert await waiting.leave_greeted() == [ACCEPT, HELLO]
    assert house.said == words
    await inside.leave_greeted()


async def test_one_who_talks_while_he_waits_is_heard_only_so_far() -> None:
    house = House()
    admission = Admission(house, places=1)
    inside, waiting = Guest(admission), Guest(admission)
    for _ in range(3 * MOST_HEARD):
        waiting.say(PING)
    await settle()

    assert waiting.unheard() == 2 * MOST_HEARD + 1  # and the connect itself was heard

    house.may_greet.set()
    await inside.leave_greeted()
    await waiting.leave_greeted()
    assert len(house.said) == 3 * MOST_HEARD


async def test_whoever_leaves_while_waiting_is_skipped_and_told_nothing_more() -> None:
    house = House()
    admission = Admission(house, places=1)
    before = replace(counters)
    inside, leaver, next_one = (Guest(admission, path) for path in ("/inside", "/leaver", "/next"))
    await settle()
    assert counters.waiting == before.waiting + 2

    assert await leaver.leave() == [ACCEPT]

    assert counters.waiting == before.waiting + 1
    house.may_greet.set()
    await inside.leave_greeted()
    assert await next_one.leave_greeted() == [ACCEPT, HELLO]
    assert house.came == ["/inside", "/next"]
    assert counters.sent_away == before.sent_away


async def test_whoever_leaves_just_as_a_place_gets_free_takes_it_from_nobody() -> None:
    house = House()
    admission = Admission(house, places=1)
    inside, leaver, next_one = (Guest(admission, path) for path in ("/inside", "/leaver", "/next"))
    await settle()

    house.may_greet.set()
    leaver.say(GONE)

    await inside.leave_greeted()
    assert await leaver.end() == [ACCEPT]
    assert await next_one.leave_greeted() == [ACCEPT, HELLO]
    assert house.came == ["/inside", "/next"]


async def test_whoever_has_waited_too_long_is_told_to_try_again_later_and_counted() -> None:
    house = House()
    admission = Admission(house, places=1, patience=0.05)
    before = replace(counters)
    inside = Guest(admission)
    await settle()

    *_, last = await Guest(admission).end()

    assert (last["type"], last["code"]) == ("websocket.close", CLOSE_TRY_AGAIN)
    assert counters.sent_away == before.sent_away + 1
    house.may_greet.set()
    await inside.leave_greeted()
    assert await Guest(admission).leave_greeted() == [ACCEPT, HELLO]  # the place was not lost


async def test_a_place_is_free_again_after_an_exception() -> None:
    house = House()
    house.may_greet.set()
    house.error = KeyError("a fault of ours")
    admission = Admission(house, places=1, patience=0.05)
    for _ in range(3):
        with pytest.raises(KeyError):
            await Guest(admission).end()

    house.error = None

    assert await Guest(admission).leave_greeted() == [ACCEPT, HELLO]


async def test_a_place_is_free_again_when_the_socket_is_closed_instead_of_greeted() -> None:
    house = House()
    house.may_greet.set()
    house.closes_with = 4401
    admission = Admission(house, places=1, patience=0.05)

    for guest in [Guest(admission) for _ in range(3)]:
        assert await guest.end() == [ACCEPT, {"type": "websocket.close", "code": 4401}]


async def test_a_handshake_that_is_cancelled_takes_no_place_with_it() -> None:
    house = House()
    admission = Admission(house, places=1)
    inside, waiting = Guest(admission), Guest(admission)
    await settle()
    for guest in (waiting, inside):
        guest.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await guest.task

    house.may_greet.set()

    assert await Guest(admission).leave_greeted() == [ACCEPT, HELLO]


async def test_a_waiter_cancelled_just_as_a_place_gets_free_takes_it_from_nobody() -> None:
    house = House()
    admission = Admission(house, places=1)
    inside, waiting, next_one = (Guest(admission) for _ in range(3))
    await settle()

    inside.task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
        waiting.task.cancel()
    await asyncio.wait({inside.task, waiting.task})

    house.may_greet.set()
    assert await next_one.leave_greeted() == [ACCEPT, HELLO]


async def test_a_thousand_handshakes_of_every_kind_leave_nothing_behind() -> None:
    house = House()
    house.may_greet.set()
    admission = Admission(house, places=2, patience=5.0)

    def tasks() -> int:
        return len(asyncio.all_tasks())

    ends: list[Callable[[Guest], object]] = [
        lambda guest: guest.say(PING),
        lambda guest: guest.say(GONE),
        lambda guest: guest.task.cancel(),
    ]
    before = tasks()
    guests = []
    for number in range(1000):
        guests.append(Guest(admission))
        ends[number % 3](guests[-1])
        if number % 7 == 0:
            await asyncio.sleep(0)
    await settle()
    for guest in guests:
        guest.say(GONE)
    await asyncio.gather(*(guest.task for guest in guests), return_exceptions=True)
    gc.collect()

    assert tasks() == before
    # Both places are there still: two come in, and a third waits.
    house.may_greet.clear()
    house.came.clear()
    last = [Guest(admission, f"/{number}") for number in range(3)]
    await settle()
    assert house.came == ["/0", "/1"]
    house.may_greet.set()
    assert [await guest.leave_greeted() for guest in last] == [[ACCEPT, HELLO]] * 3


class OneAtATime(FollowConsumer):
    """Greets alice only when it may, and everybody else at once."""

    may_greet = threading.Event()
    asked_for: ClassVar[list[str]] = []
    patience = 30.0

    @classmethod
    def as_asgi(cls, **options: Any) -> Any:
        return Admission(super().as_asgi(**options), places=1, patience=cls.patience)

    async def may_join(self, user: Any) -> tuple[int, Sequence[str]]:
        self.asked_for.append(user.name)
        if user.name == "alice":
            await asyncio.to_thread(self.may_greet.wait, 20)
        return await super().may_join(user)


class Impatient(OneAtATime):
    patience = 0.2


async def until_waiting(count: int) -> None:
    async with asyncio.timeout(10):
        while counters.waiting != count:  # noqa: ASYNC110 (the server's thread counts)
            await asyncio.sleep(0.01)


@pytest.fixture
def _anew() -> Iterator[None]:
    OneAtATime.may_greet.clear()
    OneAtATime.asked_for.clear()
    yield
    OneAtATime.may_greet.set()


@pytest.mark.usefixtures("_anew")
async def test_sockets_of_a_real_server_wait_open_and_one_that_leaves_costs_nothing(
    start_web: Callable[..., WebProcess],
) -> None:
    charlie = replace(bob(), pk=3, name="charlie")
    web = start_web(people=[alice(), bob(), charlie], consumer=OneAtATime)
    before = counters.waiting
    async with web.browser("alice") as first, web.browser("charlie") as leaver, web.browser("bob") as last:
        await last.say({"type": "ping"})
        await until_waiting(before + 2)
        await leaver.connection.close()
        await until_waiting(before + 1)

        OneAtATime.may_greet.set()

        assert (await first.read())["user"] == "alice"
        assert (await last.read())["user"] == "bob"
        assert (await last.read())["type"] == "pong"
    assert OneAtATime.asked_for == ["alice", "bob"]


@pytest.mark.usefixtures("_anew")
async def test_a_browser_that_waited_too_long_reads_the_code_that_makes_it_come_back_later(
    start_web: Callable[..., WebProcess],
) -> None:
    web = start_web(consumer=Impatient)
    async with web.browser("alice"), web.browser("bob") as late:
        with pytest.raises(ConnectionClosed) as closed:
            await late.read()

        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == CLOSE_TRY_AGAIN
        OneAtATime.may_greet.set()
