"""What one browser may do, step by step: being let in, looking back, changing its groups, being sent away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest
from channels.layers import get_channel_layer
from django.db import OperationalError

from live.client_messages import MAX_BYTES, MAX_PAIRS, MESSAGES_AT_ONCE, NotUnderstood, Pace, parse, parse_since
from live.counters import counters
from live.frames import encode
from live.groups import group_name
from live.layer import LiveChannelLayer
from live.messages import (
    CLOSE_FAILED,
    CLOSE_POLICY,
    CLOSE_RIGHTS_ENDED,
    CLOSE_TRY_AGAIN,
    CLOSE_UNAUTHENTICATED,
    Pair,
    RefusedPair,
)
from live.tests.web import BTC, FollowConsumer, Person, alice, bob, signal_frame

pytestmark = pytest.mark.usefixtures("valkey")

SOL = group_name("rsi", "SOLUSDT")


def layer() -> LiveChannelLayer:
    return cast("LiveChannelLayer", get_channel_layer())


def deliver(*, closed_at: int, group: str = BTC) -> int:
    return layer().deliver(group, encode(group, signal_frame(closed_at=closed_at)))


class Visit:
    """One connection to a consumer, without a server. (channels.testing imports daphne, which is not ours.)"""

    def __init__(
        self, person: Person | None, *, query: str = "", consumer: type[FollowConsumer] = FollowConsumer
    ) -> None:
        self._scope = {"type": "websocket", "path": "/", "query_string": query.encode(), "user": person}
        self._application: Any = consumer.as_asgi()
        self._to_server: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._to_client: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def __aenter__(self) -> Visit:
        self.send({"type": "websocket.connect"})
        self._task = asyncio.create_task(
            self._application(self._scope, self._to_server.get, self._to_client.put), name="visit"
        )
        assert (await self.receive())["type"] == "websocket.accept"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.send({"type": "websocket.disconnect", "code": 1001})
        await self._task

    def send(self, message: dict[str, Any]) -> None:
        self._to_server.put_nowait(message)

    async def receive(self) -> dict[str, Any]:
        """The next ASGI message of the consumer; what it raised, if it ended without one."""
        receiving = asyncio.create_task(self._to_client.get())
        await asyncio.wait({receiving, self._task}, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        if not receiving.done():
            receiving.cancel()
            assert self._task.done(), "the consumer says nothing"
            self._task.result()
        return await receiving

    async def read(self) -> dict[str, Any]:
        return cast("dict[str, Any]", msgspec.json.decode((await self.receive())["text"]))

    async def read_until(self, kind: str) -> list[dict[str, Any]]:
        frames = [await self.read()]
        while frames[-1]["type"] != kind:
            frames.append(await self.read())
        return frames

    async def closed_with(self) -> int:
        while (output := await self.receive())["type"] != "websocket.close":
            assert output["type"] == "websocket.send"
        return int(output["code"])

    def say(self, text: str) -> None:
        self.send({"type": "websocket.receive", "text": text})

    async def ask(self, message: object) -> dict[str, Any]:
        self.say(msgspec.json.encode(message).decode())
        return await self.read()


@pytest.mark.parametrize("stranger", [None, Person(9, "charlie", [BTC], is_authenticated=False)])
async def test_whoever_is_not_logged_in_is_told_so_by_a_code_and_joins_nothing(stranger: Person | None) -> None:
    async with Visit(stranger) as visit:
        assert await visit.closed_with() == CLOSE_UNAUTHENTICATED
        assert deliver(closed_at=1) == 0


async def test_a_user_is_greeted_and_joined_to_his_own_groups() -> None:
    async with Visit(alice()) as visit:
        hello = await visit.read()

        assert hello == {"type": "hello", "v": 1, "at": hello["at"], "user": "alice", "groups": 4, "replayed": 0}
        assert deliver(closed_at=1) == 1
        assert (await visit.read())["slot"] == 1
        assert deliver(group="user_2", closed_at=1) == 0


async def test_leaving_leaves_nothing_behind() -> None:
    before = replace(counters)
    async with Visit(alice()) as visit:
        await visit.read()
        assert counters.sockets == before.sockets + 1

    assert deliver(closed_at=1) == 0
    assert counters.sockets == before.sockets


async def test_since_replays_what_was_missed_and_says_when_it_is_done() -> None:
    person = alice()
    person.history = [signal_frame(closed_at=slot) for slot in range(1, 251)]
    async with Visit(person, query="since=1") as visit:
        hello = await visit.read()
        *replayed, done = await visit.read_until("replayed")

        assert hello["replayed"] == 250
        assert [frame["slot"] for frame in replayed] == list(range(1, 251))
        assert done == {"type": "replayed", "v": 1, "since": 1, "count": 250}


async def test_since_without_anything_missed_says_so() -> None:
    async with Visit(alice(), query="since=1") as visit:
        assert (await visit.read())["replayed"] == 0
        assert await visit.read() == {"type": "replayed", "v": 1, "since": 1, "count": 0}


async def test_since_too_far_back_asks_for_a_reload() -> None:
    person = alice()
    person.history = None
    async with Visit(person, query="since=1") as visit:
        assert (await visit.read())["type"] == "hello"
        assert (await visit.read())["type"] == "reload"


@pytest.mark.parametrize("since", ["", "yesterday", "-1", "1.5", "1e3", "9" * 30, "%00", "%D9%A3", "NaN"])
async def test_a_since_that_is_no_instant_is_answered_with_an_error_and_the_connection_stays(since: str) -> None:
    async with Visit(alice(), query=f"since={since}") as visit:
        assert (await visit.read())["type"] == "hello"
        assert (await visit.read())["type"] == "error"
        assert (await visit.ask({"type": "ping"}))["type"] == "pong"


class LooksBackSlowly(FollowConsumer):
    """While this consumer looks back, a new frame is published."""

    async def replay(self, user: Any, since: int) -> list[str] | None:
        found = await super().replay(user, since)
        assert deliver(closed_at=8) == 1
        await asyncio.sleep(0)
        return found


async def test_what_is_published_while_the_server_looks_back_is_not_lost_and_follows_the_greeting() -> None:
    person = alice()
    person.history = [signal_frame(closed_at=7)]
    async with Visit(person, query="since=7", consumer=LooksBackSlowly) as visit:
        frames = await visit.read_until("replayed")

    assert frames[0]["type"] == "hello"
    assert sorted(frame["slot"] for frame in frames[1:-1]) == [7, 8]


def pair(ticker: str) -> Pair:
    return {"algorithm": "rsi", "ticker": ticker}


async def test_groups_are_joined_and_left_at_runtime_and_refusals_are_named() -> None:
    async with Visit(bob()) as visit:
        groups = (await visit.read())["groups"]

        answer = await visit.ask({"type": "subscribe", "pairs": [pair("SOLUSDT"), pair("XRPUSDT")]})

        assert answer["groups"] == groups + 1
        assert answer["refused"] == [{**pair("XRPUSDT"), "reason": "not listed"}]
        assert deliver(group=SOL, closed_at=1) == 1
        assert deliver(group=group_name("rsi", "XRPUSDT"), closed_at=1) == 0
        assert (await visit.read())["type"] == "signal"

        answer = await visit.ask({"type": "unsubscribe", "pairs": [pair("SOLUSDT"), pair("NEVERJOINED")]})

        assert answer == {"type": "subscribed", "v": 1, "groups": groups, "refused": []}
        assert deliver(group=SOL, closed_at=2) == 0


async def test_a_pair_cannot_be_made_to_name_a_private_group() -> None:
    async with Visit(bob()) as visit:
        await visit.read()
        for algorithm, ticker in (("", "user_1"), ("../user_1", ""), ("user", "1")):
            await visit.ask({"type": "subscribe", "pairs": [{"algorithm": algorithm, "ticker": ticker}]})

        assert deliver(group="user_1", closed_at=1) == 0


MALFORMED = [
    "",
    "hello",
    "null",
    "[]",
    "{}",
    '{"type": 1}',
    '{"type": "hello"}',
    '{"type": "subscribe"}',
    '{"type": "subscribe", "pairs": "all"}',
    '{"type": "subscribe", "pairs": [{"algorithm": "rsi"}]}',
    '{"type": "subscribe", "pairs": [{"algorithm": "rsi", "ticker": 7}]}',
    '{"type": "subscribe", "pairs": [], "v": 2}',
    '{"type": "ping", "v": "1"}',
    '{"type": "ping"',
    '{"type": "subscribe", "pairs": [{"algorithm": "\\ud800", "ticker": "b"}]}',
    "\ud800",
    "[" * 60_000,
    '{"type": "ping", "x": ' + "[" * 60_000,
    '{"type": "ping", "x": "' + "x" * MAX_BYTES + '"}',
    msgspec.json.encode({"type": "subscribe", "pairs": [pair("BTCUSDT")] * (MAX_PAIRS + 1)}).decode(),
]


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: ascii(text[:40]))
async def test_what_cannot_be_understood_is_answered_and_changes_nothing(text: str) -> None:
    async with Visit(alice()) as visit:
        groups = (await visit.read())["groups"]

        visit.say(text)

        assert (await visit.read())["type"] == "error"
        assert (await visit.ask({"type": "unsubscribe", "pairs": []}))["groups"] == groups


async def test_binary_messages_are_answered_with_an_error() -> None:
    async with Visit(alice()) as visit:
        await visit.read()

        visit.send({"type": "websocket.receive", "bytes": b'{"type": "ping"}'})

        assert (await visit.read())["type"] == "error"


def test_the_largest_message_allowed_is_understood() -> None:
    most = {"type": "subscribe", "pairs": [pair("BTCUSDT")] * MAX_PAIRS, "v": 1}

    assert parse(msgspec.json.encode(most).decode()) == most
    assert parse('{"type": "ping", "later": {"fields": "are ignored"}}') == {"type": "ping"}


def test_since_is_read_from_any_query_string() -> None:
    assert parse_since(b"") is None
    assert parse_since(b"page=2") is None
    assert parse_since(b"page=2&since=1750000000000") == 1_750_000_000_000
    with pytest.raises(NotUnderstood, match="milliseconds"):
        parse_since(b"since=\xff")


def test_a_client_may_be_quick_for_a_moment_but_not_for_long() -> None:
    pace = Pace(rate=10.0, burst=3)

    assert [pace.allows(0.0) for _ in range(4)] == [True, True, True, False]
    pace = Pace(rate=10.0, burst=3)
    assert all(pace.allows(number / 10) for number in range(1000))


async def test_a_client_that_floods_is_closed() -> None:
    async with Visit(alice()) as visit:
        await visit.read()
        for _ in range(MESSAGES_AT_ONCE * 2):
            visit.say('{"type": "ping"}')

        assert await visit.closed_with() == CLOSE_POLICY


class ChecksOften(FollowConsumer):
    recheck_every = 0.02


async def test_a_socket_is_closed_when_its_users_rights_end() -> None:
    person = alice()
    async with Visit(person, consumer=ChecksOften) as visit:
        await visit.read()
        await asyncio.sleep(0.1)
        assert (await visit.ask({"type": "ping"}))["type"] == "pong"

        person.has_rights = False

        assert await visit.closed_with() == CLOSE_RIGHTS_ENDED


class LosesItsDatabase(ChecksOften):
    """Its database answers neither a subscribe nor the first questions about rights."""

    asked = 0

    async def can_join(self, user: Any, pairs: Sequence[Pair]) -> list[RefusedPair]:
        raise OperationalError("server closed the connection")

    async def rights_hold(self, user: Any) -> bool:
        LosesItsDatabase.asked += 1
        if LosesItsDatabase.asked < 3:
            raise OperationalError("server closed the connection")
        return False


async def test_a_database_that_is_away_closes_the_socket_for_now() -> None:
    async with Visit(alice(), consumer=LosesItsDatabase) as visit:
        await visit.read()

        visit.say('{"type": "subscribe", "pairs": []}')

        assert await visit.closed_with() == CLOSE_TRY_AGAIN


async def test_rights_that_cannot_be_checked_for_a_moment_end_nothing_but_are_asked_again() -> None:
    LosesItsDatabase.asked = 0
    async with Visit(alice(), consumer=LosesItsDatabase) as visit:
        await visit.read()

        assert await visit.closed_with() == CLOSE_RIGHTS_ENDED
        assert LosesItsDatabase.asked == 3


class NeverAnswered(ChecksOften):
    """Its database refuses at once, every time."""

    unanswered_for = 0.2

    async def rights_hold(self, user: Any) -> bool:
        raise OperationalError("server closed the connection")


class Unanswered(NeverAnswered):
    """Its database says nothing at all."""

    async def rights_hold(self, user: Any) -> bool:
        await asyncio.Event().wait()
        return True


@pytest.mark.parametrize("consumer", [NeverAnswered, Unanswered])
async def test_rights_that_nobody_can_check_for_too_long_close_the_socket_for_now(
    consumer: type[FollowConsumer],
) -> None:
    async with Visit(alice(), consumer=consumer) as visit:
        await visit.read()

        assert await visit.closed_with() == CLOSE_TRY_AGAIN


class AnsweredInTime(NeverAnswered):
    """Every second question is answered."""

    asked = 0

    async def rights_hold(self, user: Any) -> bool:
        AnsweredInTime.asked += 1
        if AnsweredInTime.asked % 2:
            raise OperationalError("server closed the connection")
        return AnsweredInTime.asked < 60


async def test_any_answer_begins_that_time_anew() -> None:
    async with Visit(alice(), consumer=AnsweredInTime) as visit:
        await visit.read()

        assert await visit.closed_with() == CLOSE_RIGHTS_ENDED


class Faulty(ChecksOften):
    async def rights_hold(self, user: Any) -> bool:
        raise KeyError("a fault of ours")


async def test_a_fault_in_the_check_of_rights_closes_rather_than_lets_stay() -> None:
    async with Visit(alice(), consumer=Faulty) as visit:
        await visit.read()

        assert await visit.closed_with() == CLOSE_FAILED


class FailsToGreet(FollowConsumer):
    async def replay(self, user: Any, since: int) -> list[str] | None:
        raise KeyError("a fault of ours")


async def test_a_connection_that_ends_in_an_exception_leaves_nothing_behind() -> None:
    before = replace(counters)
    visit = Visit(alice(), query="since=1", consumer=FailsToGreet)

    with pytest.raises(KeyError):
        async with visit:
            await visit.read()

    assert counters.sockets == before.sockets
    assert deliver(closed_at=1) == 0
