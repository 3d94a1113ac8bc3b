"""A reader who falls behind costs nobody but himself. Step by step on one socket, then with real ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from live.counters import counters
from live.frames import encode
from live.messages import CLOSE_TOO_SLOW, NotificationFrame
from live.publish import publish
from live.socket import Socket
from live.tests.conftest import wait_until
from live.tests.web import BTC, ETH, Browser, FollowConsumer, Person, WebProcess, signal_frame, sweep_closed_frame

StartWeb = Callable[..., WebProcess]


class Wire:
    """ASGI's `send` as servers write it: runs through while there is room, waits where there is none."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.room.set()
        self.closed_by_peer = False
        self.messages: list[dict[str, Any]] = []

    async def send(self, message: dict[str, Any]) -> None:
        await self.room.wait()
        if self.closed_by_peer:
            raise BrokenPipeError
        self.messages.append(message)

    def frames(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(message["text"]) for message in self.messages if "text" in message]

    def slots(self) -> list[int]:
        return [frame.get("slot", 0) for frame in self.frames()]


def open_socket(wire: Wire, *, give_up_after: float = 10.0) -> Socket:
    socket = Socket(wire.send, give_up_after=give_up_after)
    socket.release()
    return socket


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_frame_is_written_before_deliver_returns_while_there_is_room() -> None:
    wire = Wire()
    socket = open_socket(wire)

    for slot in (1, 2, 3):
        socket.deliver(encode(BTC, signal_frame(closed_at=slot)))

    assert wire.slots() == [1, 2, 3]


async def test_behind_a_slow_reader_the_newest_of_each_line_is_kept_in_order_and_a_gap_says_how_many_are_missing() -> (
    None
):
    wire = Wire()
    socket = open_socket(wire)
    wire.room.clear()

    for slot in (1, 2, 3):
        socket.deliver(encode(BTC, signal_frame(closed_at=slot)))
        socket.deliver(encode(ETH, signal_frame("ETHUSDT", closed_at=slot)))
        socket.deliver(encode("market_", sweep_closed_frame(slot=slot)))
    wire.room.set()
    await settle()

    heard = [(frame["type"], frame.get("ticker"), frame.get("slot")) for frame in wire.frames()]
    assert heard == [
        ("signal", "BTCUSDT", 1),  # was being written when the room ended
        ("signal", "BTCUSDT", 3),
        ("signal", "ETHUSDT", 3),
        ("sweep_closed", None, 3),
        ("gap", None, None),
    ]
    assert wire.frames()[-1]["dropped"] == 3  # BTC's second, ETH's first and second


async def test_what_only_its_newest_frame_says_leaves_no_gap() -> None:
    wire = Wire()
    socket = open_socket(wire)
    wire.room.clear()

    for slot in (1, 2, 3, 4):
        socket.deliver(encode("market_", sweep_closed_frame(slot=slot)))
    wire.room.set()
    await settle()

    assert [(frame["type"], frame["slot"]) for frame in wire.frames()] == [("sweep_closed", 1), ("sweep_closed", 4)]


async def test_an_older_frame_never_takes_the_place_of_a_newer_one() -> None:
    wire = Wire()
    socket = open_socket(wire)
    wire.room.clear()

    for slot in (1, 9, 5):
        socket.deliver(encode(BTC, signal_frame(closed_at=slot)))
    wire.room.set()
    await settle()

    assert wire.slots()[:2] == [1, 9]
    assert wire.frames()[2:] == [{"type": "gap", "v": 1, "dropped": 1}]


async def test_no_two_notifications_replace_each_other() -> None:
    wire = Wire()
    socket = open_socket(wire)
    wire.room.clear()

    for number in range(5):
        frame: NotificationFrame = {
            "type": "notification",
            "v": 1,
            "id": str(number),
            "level": "info",
            "title": "Plan ended",
            "body": "",
            "created_at": 1,
        }
        socket.deliver(encode("user_1", frame))
    wire.room.set()
    await settle()

    assert [frame["id"] for frame in wire.frames()] == ["0", "1", "2", "3", "4"]


async def test_after_catching_up_frames_are_written_directly_again() -> None:
    wire = Wire()
    socket = open_socket(wire)
    wire.room.clear()
    socket.deliver(encode(BTC, signal_frame(closed_at=1)))
    wire.room.set()
    await settle()

    socket.deliver(encode(BTC, signal_frame(closed_at=2)))

    assert wire.slots() == [1, 2]


async def test_what_is_delivered_before_the_release_follows_what_the_connection_says_first() -> None:
    wire = Wire()
    socket = Socket(wire.send)

    socket.deliver(encode(BTC, signal_frame(closed_at=1)))
    await socket.send({"type": "websocket.send", "text": '{"type": "hello"}'})
    socket.release()

    assert [frame["type"] for frame in wire.frames()] == ["hello", "signal"]


async def test_a_held_socket_is_not_a_slow_one_and_gets_every_frame_of_a_pair() -> None:
    wire = Wire()
    socket = Socket(wire.send)

    for closed_at in (1, 2, 3):
        socket.deliver(encode(BTC, signal_frame(closed_at=closed_at)))
    socket.release()

    assert wire.slots() == [1, 2, 3]


async def test_what_the_connection_itself_says_waits_for_room_and_is_never_dropped() -> None:
    wire = Wire()
    socket = open_socket(wire)
    wire.room.clear()
    socket.deliver(encode(BTC, signal_frame(closed_at=1)))

    replies = [
        asyncio.create_task(socket.send({"type": "websocket.send", "text": f'{{"slot": {slot}}}'})) for slot in (2, 3)
    ]
    await settle()
    assert wire.messages == []
    assert not any(reply.done() for reply in replies)
    wire.room.set()
    await asyncio.gather(*replies)

    assert wire.slots() == [1, 2, 3]


async def test_a_reader_who_takes_nothing_for_too_long_is_told_how_much_it_missed_and_closed_with_4008() -> None:
    wire = Wire()
    socket = open_socket(wire, give_up_after=0.05)
    before = replace(counters)
    wire.room.clear()
    for slot in (1, 2, 3):
        socket.deliver(encode(BTC, signal_frame(closed_at=slot)))
    reply = asyncio.create_task(socket.send({"type": "websocket.send", "text": "{}"}))

    await reply  # does not hang: the socket is given up
    socket.deliver(encode(BTC, signal_frame(closed_at=4)))
    wire.room.set()
    await settle()

    assert not socket.is_open
    assert wire.frames() == [{"type": "gap", "v": 1, "dropped": 3}]
    assert [(message["type"], message.get("code")) for message in wire.messages[1:]] == [
        ("websocket.close", CLOSE_TOO_SLOW)
    ]
    assert counters.too_slow == before.too_slow + 1
    assert counters.dropped == before.dropped + 1, "the second, for the third"
    assert counters.abandoned == before.abandoned + 2, "the first, half written, and the third"


@pytest.mark.parametrize("is_behind", [False, True])
async def test_a_peer_that_is_gone_raises_nothing_and_gets_nothing_more(is_behind: bool) -> None:
    wire = Wire()
    socket = open_socket(wire)
    before = replace(counters)
    if is_behind:
        wire.room.clear()
        socket.deliver(encode(BTC, signal_frame(closed_at=1)))
    wire.closed_by_peer = True
    wire.room.set()

    socket.deliver(encode(BTC, signal_frame(closed_at=2)))
    await settle()
    wire.closed_by_peer = False
    socket.deliver(encode(BTC, signal_frame(closed_at=3)))
    await socket.send({"type": "websocket.send", "text": "{}"})

    assert not socket.is_open
    assert wire.messages == []
    assert counters.gone == before.gone + 1


async def test_ending_a_socket_leaves_no_task_behind() -> None:
    wire = Wire()
    socket = open_socket(wire)
    wire.room.clear()
    tasks = asyncio.all_tasks()
    socket.deliver(encode(BTC, signal_frame(closed_at=1)))
    assert asyncio.all_tasks() != tasks

    socket.end()
    await settle()

    assert asyncio.all_tasks() == tasks


def padded(slot: int) -> list[tuple[str, Any]]:
    """Two frames of some kilobytes, so that few of them fill all buffers on the way."""
    padding = "gap in the look-back " * 100
    return [
        (BTC, signal_frame(closed_at=slot, reason=padding)),
        (ETH, signal_frame("ETHUSDT", closed_at=slot, reason=padding)),
    ]


def followers(*names: str) -> list[Person]:
    return [Person(number, name, [BTC, ETH]) for number, name in enumerate(names, start=1)]


# What a server uses is uvloop where it is installed: both write and pause in ways of their own.
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_one_who_stops_reading_loses_frames_and_is_told_while_the_others_get_every_one(
    start_web: StartWeb, loop: str
) -> None:
    web = start_web(people=followers("alice", "bob", "charlie"), loop=loop)
    before = replace(counters)
    async with web.browser("alice") as alice, web.browser("bob") as bob, web.browser("charlie") as stuck:
        for browser in (alice, bob, stuck):
            assert (await browser.read())["type"] == "hello"
        rounds = 0
        while counters.dropped - before.dropped < 50:
            rounds += 1
            await asyncio.to_thread(publish, padded(rounds))
            for browser in (alice, bob):
                heard = [await browser.read(), await browser.read()]
                assert [(frame["ticker"], frame["slot"]) for frame in heard] == [
                    ("BTCUSDT", rounds),
                    ("ETHUSDT", rounds),
                ]

        late = await stuck.read_until("gap")

    signals = late[:-1]
    assert len(signals) + late[-1]["dropped"] == 2 * rounds, "each frame came or was counted"
    for ticker in ("BTCUSDT", "ETHUSDT"):
        slots = [frame["slot"] for frame in signals if frame["ticker"] == ticker]
        assert slots == sorted(set(slots))
        assert slots[-1] == rounds, "the newest is never the one that is dropped"
    assert counters.slow == before.slow + 1


class Impatient(FollowConsumer):
    give_up_after = 0.2


async def test_one_who_never_reads_again_is_told_once_and_closed_while_the_others_get_every_frame(
    start_web: StartWeb,
) -> None:
    web = start_web(people=followers("alice", "charlie"), consumer=Impatient)
    before = replace(counters)
    async with web.browser("alice") as alice, web.browser("charlie") as stuck:
        assert (await alice.read())["type"] == "hello"
        rounds = 0
        while counters.too_slow == before.too_slow:
            rounds += 1
            await asyncio.to_thread(publish, padded(rounds))
            assert [(await alice.read())["slot"], (await alice.read())["slot"]] == [rounds, rounds]

        heard, code = await read_to_the_end(stuck)

    assert [frame["type"] for frame in heard].count("gap") == 1
    assert heard[-1]["type"] == "gap"
    assert code == CLOSE_TOO_SLOW
    signals = [frame for frame in heard if frame["type"] == "signal"]
    counted = len(signals) + heard[-1]["dropped"]
    assert 2 * (rounds - 1) <= counted <= 2 * rounds, "each frame came or was counted, until it was closed"
    dropped = counters.dropped + counters.abandoned - before.dropped - before.abandoned
    assert heard[-1]["dropped"] == dropped
    wait_until(lambda: counters.sockets == before.sockets)


async def read_to_the_end(browser: Browser) -> tuple[list[dict[str, Any]], int]:
    """All that comes until the server closes; and its code."""
    frames = []
    try:
        while True:
            frames.append(await browser.read())
    except ConnectionClosed as closed:
        return frames, closed.rcvd.code if closed.rcvd else 0


class Patient(FollowConsumer):
    give_up_after = 250.0


async def test_one_who_stops_reading_makes_nobody_else_wait(start_web: StartWeb) -> None:
    """The same publisher tells two web processes; in one of them somebody has stopped reading."""
    beside = start_web(people=followers("alice", "charlie"), consumer=Patient)
    alone = start_web(people=followers("alice"), consumer=Patient)
    before = replace(counters)
    async with beside.browser("charlie"), beside.browser("alice") as one, alone.browser("alice") as other:
        late: dict[Browser, list[float]] = {one: [], other: []}
        for browser in late:
            assert (await browser.read())["type"] == "hello"
        rounds = 0
        while len(late[one]) < 300:
            rounds += 1
            sent = time.perf_counter()
            reads = [asyncio.create_task(arrivals(browser)) for browser in late]
            await asyncio.to_thread(publish, padded(rounds))
            found = await asyncio.gather(*reads)
            if counters.dropped > before.dropped:  # from here on, one cannot keep up
                for seconds, arrived in zip(late.values(), found, strict=True):
                    seconds += [at - sent for at in arrived]

    assert counters.too_slow == before.too_slow, "it was behind all the time, and open"
    # What waits for a slow reader waits until it is given up: thousands of times longer than this.
    assert percentile_99(late[one]) < 10 * percentile_99(late[other])


async def arrivals(browser: Browser) -> list[float]:
    found = []
    for _ in range(2):
        await browser.read()
        found.append(time.perf_counter())
    return found


def percentile_99(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) * 99 // 100]
