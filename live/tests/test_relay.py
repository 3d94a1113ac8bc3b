"""From `publish` to real browsers, past everything that may fail between the two."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from channels.layers import get_channel_layer
from redis import Redis

from live.counters import counters
from live.frames import Delivery, encode
from live.groups import user_group
from live.layer import LiveChannelLayer
from live.publish import CHANNEL, publish
from live.relay import Delivered, Relay, Wanted
from live.tests.conftest import Valkey, wait_until
from live.tests.web import BTC, ETH, WebProcess, alice, nothing_new, signal_frame, sweep_closed_frame

StartWeb = Callable[..., WebProcess]


class Store:
    """Stands for Postgres: what was committed, and the question for all of it after a cursor."""

    def __init__(self) -> None:
        self.committed: list[Delivery] = []
        self.questions = 0
        self.is_away = False

    def commit(self, *deliveries: Delivery) -> None:
        self.committed.extend(deliveries)

    async def since(self, cursor: int | None, wanted: Wanted) -> tuple[Sequence[Delivery], int]:
        self.questions += 1
        if self.is_away:
            raise ConnectionResetError("Postgres is away")
        return ([] if cursor is None else self.committed[cursor:]), len(self.committed)


async def say(*deliveries: Delivery) -> None:
    await asyncio.to_thread(publish, deliveries)


async def slots_until_closed(browser: Any) -> list[tuple[str, int]]:
    return [(frame.get("ticker", ""), frame["slot"]) for frame in await browser.read_until("sweep_closed")]


async def test_with_two_web_processes_each_socket_gets_each_frame_of_its_groups_once(start_web: StartWeb) -> None:
    one, two = start_web(), start_web()
    async with one.browser("alice") as alice, two.browser("alice") as alice_again, two.browser("bob") as bob:
        for browser in (alice, alice_again, bob):
            await browser.read_until("hello")

        await say((BTC, signal_frame(closed_at=1)), (ETH, signal_frame("ETHUSDT", closed_at=1)))
        await say((user_group(1), signal_frame("SOLUSDT", closed_at=1)))
        await say(("market_", sweep_closed_frame(slot=1)))

        everything = [("BTCUSDT", 1), ("ETHUSDT", 1), ("SOLUSDT", 1), ("", 1)]
        assert await slots_until_closed(alice) == everything
        assert await slots_until_closed(alice_again) == everything
        assert await slots_until_closed(bob) == [("BTCUSDT", 1), ("", 1)]


async def test_a_frame_published_twice_is_delivered_once(start_web: StartWeb) -> None:
    web = start_web()
    async with web.browser("alice") as alice:
        await alice.read_until("hello")

        await say((BTC, signal_frame(closed_at=1)))
        await say((BTC, signal_frame(closed_at=1)), ("market_", sweep_closed_frame(slot=1)))

        assert await slots_until_closed(alice) == [("BTCUSDT", 1), ("", 1)]


async def test_what_was_committed_but_never_published_comes_from_the_store_and_only_that(start_web: StartWeb) -> None:
    store = Store()
    web = start_web(catch_up=store.since, catch_up_every=0.05)
    async with web.browser("alice") as alice:
        await alice.read_until("hello")
        wait_until(lambda: store.questions > 0)
        before = replace(counters)

        await say((BTC, signal_frame(closed_at=1)))
        assert (await alice.read())["ticker"] == "BTCUSDT"
        store.commit(
            (BTC, signal_frame(closed_at=1)),
            (ETH, signal_frame("ETHUSDT", closed_at=1)),  # its worker died before it could publish
            ("market_", sweep_closed_frame(slot=1)),
        )

        assert await slots_until_closed(alice) == [("ETHUSDT", 1), ("", 1)]
        assert counters.refilled == before.refilled + 2
        assert counters.repeated == before.repeated + 1


async def test_how_late_hints_come_and_when_postgres_was_asked_are_counted(start_web: StartWeb, valkey: Valkey) -> None:
    store = Store()
    store.is_away = True
    counters.looked_at = 0.0
    web = start_web(catch_up=store.since, catch_up_every=0.05)
    async with web.browser("alice") as alice:
        await alice.read_until("hello")
        an_hour_ago = {"type": "published", "at": int((time.time() - 3600) * 1e6)}
        with Redis.from_url(valkey.url) as client:
            client.publish(CHANNEL, json.dumps([["", an_hour_ago], [BTC, signal_frame(closed_at=1)]]))
        await alice.read()
        assert 3590 < counters.lag_seconds < 3700
        assert counters.looked_at == 0.0, "it has never succeeded"

        store.is_away = False
        await say((BTC, signal_frame(closed_at=2)))
        await alice.read()

        assert counters.lag_seconds < 60
        wait_until(lambda: abs(time.time() - counters.looked_at) < 60)


@pytest.mark.parametrize("group", [BTC, user_group(1)])
async def test_what_nobody_here_is_in_is_not_held_against_who_joins_before_the_sweep_closes(
    start_web: StartWeb, group: str
) -> None:
    store = Store()
    web = start_web(catch_up=store.since, catch_up_every=0.05)
    wait_until(lambda: store.questions > 0)
    await say((group, signal_frame(closed_at=1)))
    async with web.browser("alice") as alice:
        await alice.read_until("hello")

        store.commit((group, signal_frame(closed_at=1)), ("market_", sweep_closed_frame(slot=1)))

        assert await slots_until_closed(alice) == [("BTCUSDT", 1), ("", 1)]


async def test_who_joins_while_postgres_is_asked_finds_there_what_the_relay_left_out(start_web: StartWeb) -> None:
    verdict, closing = (BTC, signal_frame(closed_at=1)), ("market_", sweep_closed_frame(slot=1))
    is_asked, may_answer = threading.Event(), threading.Event()
    wanted_when_asked: list[frozenset[str]] = []

    async def since(cursor: int | None, wanted: Wanted) -> tuple[Sequence[Delivery], int]:
        if cursor is not None:
            return [], 1
        wanted_when_asked.append(wanted.groups())
        is_asked.set()
        await asyncio.to_thread(may_answer.wait)
        return [closing], 1  # of the verdict nobody was in the group

    latecomer = alice()
    latecomer.history = [verdict[1]]
    web = start_web(catch_up=since, catch_up_every=3600.0, people=[latecomer])
    assert is_asked.wait(20)
    async with web.browser("alice", query="?since=1") as browser:
        heard = [frame["type"] for frame in await browser.read_until("replayed")]
        may_answer.set()
        heard += [frame["type"] for frame in await browser.read_until("sweep_closed")]

    assert wanted_when_asked == [frozenset()]
    assert heard == ["hello", "signal", "replayed", "sweep_closed"]


def test_wanted_is_what_somebody_here_is_in_and_was_not_told() -> None:
    joined: dict[str, None] = {}
    delivered = Delivered()
    wanted = Wanted(joined.keys(), delivered)
    assert wanted.groups() == frozenset()

    joined[BTC] = None
    delivered.add(encode(BTC, signal_frame(closed_at=1)).identity)

    assert wanted.groups() == {BTC}
    assert not wanted.lacks(BTC, 1, "BTCUSDT", 1)
    assert [
        wanted.lacks(ETH, 1, "BTCUSDT", 1),
        wanted.lacks(BTC, 2, "BTCUSDT", 1),
        wanted.lacks(BTC, 1, "ETHUSDT", 1),
        wanted.lacks(BTC, 1, "BTCUSDT", 2),
    ] == [True] * 4


async def test_a_closed_sweep_is_a_reason_to_look_at_once(start_web: StartWeb) -> None:
    store = Store()
    web = start_web(catch_up=store.since, catch_up_every=3600.0)
    async with web.browser("alice") as alice:
        await alice.read_until("hello")
        wait_until(lambda: store.questions >= 2)  # at the start, and at the first connection

        store.commit((BTC, signal_frame(closed_at=1)), ("market_", sweep_closed_frame(slot=1)))
        await say(("market_", sweep_closed_frame(slot=1)))

        assert [(await alice.read())["type"], (await alice.read())["type"]] == ["sweep_closed", "signal"]


async def test_sockets_live_through_an_empty_restart_of_redis_and_miss_nothing(
    start_web: StartWeb, valkey: Valkey
) -> None:
    store = Store()
    web = start_web(catch_up=store.since, catch_up_every=3600.0)  # only the new connection makes it ask
    async with web.browser("alice") as alice:
        await alice.read_until("hello")
        wait_until(lambda: store.questions >= 2)  # at the start, and at the first connection
        valkey.kill()
        lost: list[Delivery] = [(BTC, signal_frame(closed_at=1)), ("market_", sweep_closed_frame(slot=1))]
        store.commit(*lost)
        await say(*lost)

        await asyncio.to_thread(valkey.start)

        assert await slots_until_closed(alice) == [("BTCUSDT", 1), ("", 1)]
        wait_until(lambda: valkey.listeners() == 1)
        await say((BTC, signal_frame(closed_at=2)), ("market_", sweep_closed_frame(slot=2)))
        assert await slots_until_closed(alice) == [("BTCUSDT", 2), ("", 2)]


async def test_a_browser_may_come_while_redis_is_away(start_web: StartWeb, valkey: Valkey) -> None:
    store = Store()
    web = start_web(catch_up=store.since, catch_up_every=0.05)
    wait_until(lambda: store.questions > 0)
    valkey.kill()
    async with web.browser("alice") as alice:
        await alice.read_until("hello")

        store.commit((BTC, signal_frame(closed_at=1)), ("market_", sweep_closed_frame(slot=1)))

        assert await slots_until_closed(alice) == [("BTCUSDT", 1), ("", 1)]


async def test_a_redis_that_falls_silent_is_noticed_and_heard_again(start_web: StartWeb, valkey: Valkey) -> None:
    web = start_web(silence=0.1)
    async with web.browser("alice") as alice:
        await alice.read_until("hello")
        before = replace(counters)

        valkey.hang()
        await asyncio.sleep(1)
        valkey.go_on()

        wait_until(lambda: counters.connected > before.connected)
        await say((BTC, signal_frame(closed_at=1)))
        assert (await alice.read())["slot"] == 1


async def test_a_quiet_redis_keeps_its_connection(start_web: StartWeb) -> None:
    web = start_web(silence=0.02)
    async with web.browser("alice") as alice:
        await alice.read_until("hello")
        before = replace(counters)

        await asyncio.sleep(0.5)  # many times the silence after which Redis is asked

        await say((BTC, signal_frame(closed_at=1)))
        assert (await alice.read())["slot"] == 1
        assert counters.connected == before.connected


async def test_a_store_that_is_away_is_asked_again(start_web: StartWeb, caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    web = start_web(catch_up=store.since, catch_up_every=0.05)
    async with web.browser("alice") as alice:
        await alice.read_until("hello")
        wait_until(lambda: store.questions > 0)
        before = replace(counters)

        store.is_away = True
        store.commit((BTC, signal_frame(closed_at=1)), ("market_", sweep_closed_frame(slot=1)))
        wait_until(lambda: counters.refill_failures > before.refill_failures + 1)
        store.is_away = False

        assert await slots_until_closed(alice) == [("BTCUSDT", 1), ("", 1)]
        assert "Postgres is away" in caplog.text


async def test_what_cannot_be_read_is_counted_and_costs_only_itself(start_web: StartWeb, valkey: Valkey) -> None:
    web = start_web()
    async with web.browser("alice") as alice:
        await alice.read_until("hello")
        before = replace(counters)
        good = signal_frame(closed_at=1)
        half_good = [[BTC, {"no": "type"}], [BTC, good], [BTC, "text"], [BTC, {"type": "signal", "closed_at": "late"}]]

        with Redis.from_url(valkey.url) as client:
            for batch in (
                b"",
                b"\xff\xfe",
                b"{}",
                b"[[1, 2]]",
                b'[["group"]]',
                b"[" * 100_000,
                b'[["g", ' + b"[" * 9999,
            ):
                client.publish(CHANNEL, batch)
            client.publish(CHANNEL, json.dumps(half_good))

        assert (await alice.read()) == good
        await say(("market_", sweep_closed_frame(slot=1)))
        assert (await alice.read())["type"] == "sweep_closed"
        assert counters.malformed == before.malformed + 7 + 3


async def test_it_ends_whenever_it_is_cancelled(valkey: Valkey) -> None:
    layer = cast("LiveChannelLayer", get_channel_layer())
    for number in range(100):
        relay = Relay(layer=layer, url=valkey.url, catch_up=nothing_new, catch_up_every=0.001, silence=0.0003)
        running = asyncio.create_task(relay.run())
        await asyncio.sleep(number / 5000)  # from before it is connected to the midst of asking Redis

        running.cancel()

        assert await asyncio.wait({running}, timeout=20) == ({running}, set())


def test_what_was_delivered_is_remembered_for_a_bounded_time_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("live.relay.time.monotonic", lambda: now)
    delivered = Delivered(window=10.0, limit=3)

    assert [delivered.add(identity) for identity in (1, 2, 1, None, None)] == [True, True, False, True, True]
    now += 11
    assert delivered.add(3)
    assert not delivered.add(1), "at least one window"
    now += 11
    assert delivered.add(4)
    assert delivered.add(1), "at most two"
    assert [delivered.add(identity) for identity in range(10, 20)] == [True] * 10
    assert delivered.add(4), "never more than the limit twice"


async def test_each_closed_sweep_is_logged_once_with_its_own_feed_and_slot_and_nothing_of_others(
    start_web: StartWeb, caplog: pytest.LogCaptureFixture
) -> None:
    web = start_web()
    caplog.set_level(logging.INFO, logger="live.relay")
    async with web.browser("alice") as alice:
        await alice.read()
        private = {**sweep_closed_frame(slot=60_000), "feed": "premium:alice:1"}
        await say((BTC, signal_frame(closed_at=1)), (user_group(1), private))  # type: ignore[arg-type]
        await say(("market_", sweep_closed_frame(slot=60_000)), ("market_", sweep_closed_frame(slot=60_000)))
        await alice.read_until("sweep_closed")
        await alice.read_until("sweep_closed")

    closings = [vars(one) for one in caplog.records if one.message.startswith("sweep closed")]
    assert [(one["feed"], one["slot"]) for one in closings] == [("central", "1970-01-01T00:01:00+00:00")]
    assert "frames" not in closings[0]
