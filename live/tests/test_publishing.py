from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from live.counters import counters
from live.frames import decode_batch, encode_batches, read
from live.publish import CHANNEL, publish
from live.tests.conftest import Valkey
from live.tests.web import BTC, ETH, signal_frame, sweep_closed_frame


@pytest.fixture
def heard(valkey: Valkey) -> Iterator[Any]:
    """A function that gives the next published batch."""
    client: Any = Redis.from_url(valkey.url)
    pubsub = client.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe(CHANNEL)
    pubsub.get_message(timeout=5)

    def next_batch() -> list[tuple[str, dict[str, Any]]]:
        message = pubsub.get_message(timeout=5)
        assert message is not None, "nothing was published"
        return [(group, msgspec.json.decode(raw)) for group, raw in decode_batch(message["data"]).frames]

    yield next_batch
    pubsub.close()
    client.close()


def test_a_batch_arrives_whole_and_in_order(heard: Any) -> None:
    deliveries = [(BTC, signal_frame(closed_at=1)), (ETH, signal_frame("ETHUSDT", closed_at=1))]

    publish([*deliveries, ("market_", sweep_closed_frame(slot=1))])

    assert heard() == [*deliveries, ("market_", sweep_closed_frame(slot=1))]


def test_a_batch_says_when_it_was_made_and_one_of_an_older_publisher_is_read_all_the_same() -> None:
    before = time.time()
    (batch,) = encode_batches([(BTC, signal_frame(closed_at=1))])
    published_at = decode_batch(batch).published_at

    assert published_at is not None
    assert before - 0.001 <= published_at <= time.time()
    old = decode_batch(msgspec.json.encode([(BTC, signal_frame(closed_at=1))]))
    assert old.published_at is None
    assert [(group, msgspec.json.decode(raw)) for group, raw in old.frames] == [(BTC, signal_frame(closed_at=1))]


def test_an_older_relay_reads_the_stamp_as_a_frame_for_nobody() -> None:
    (batch,) = encode_batches([(BTC, signal_frame(closed_at=1))])

    (group, stamp), _ = msgspec.json.decode(batch, type=list[tuple[str, msgspec.Raw]])

    assert group == ""
    assert read(group, stamp).identity is None


def test_nothing_to_say_publishes_nothing(heard: Any) -> None:
    publish([])
    publish([(BTC, signal_frame(closed_at=1))])

    assert heard() == [(BTC, signal_frame(closed_at=1))]


def test_a_value_that_is_no_number_becomes_null(heard: Any) -> None:
    publish([(BTC, {**signal_frame(closed_at=1), "value": math.nan})])

    ((_, frame),) = heard()
    assert frame["value"] is None


@given(st.lists(st.integers(min_value=0, max_value=400), max_size=40), st.integers(min_value=600, max_value=3000))
def test_large_batches_are_split_without_loss_or_reordering(paddings: list[int], limit: int) -> None:
    deliveries = [(BTC, signal_frame(closed_at=n, reason="x" * padding)) for n, padding in enumerate(paddings)]

    batches = list(encode_batches(deliveries, limit=limit))

    assert [
        (group, msgspec.json.decode(raw)) for batch in batches for group, raw in decode_batch(batch).frames
    ] == deliveries
    assert all(len(batch) <= limit + 2 or len(decode_batch(batch).frames) == 1 for batch in batches)


def test_a_redis_that_is_away_is_counted_and_logged_without_its_address_and_hinders_nobody(
    valkey: Valkey, heard: Any, caplog: pytest.LogCaptureFixture
) -> None:
    valkey.kill()
    before = replace(counters)

    publish([(BTC, signal_frame(closed_at=1))])

    assert counters.publish_failures == before.publish_failures + 1
    assert "1 frames not published" in caplog.text
    assert str(valkey.port) not in caplog.text


def test_the_first_batch_after_a_restart_of_redis_is_published(valkey: Valkey) -> None:
    publish([(BTC, signal_frame(closed_at=1))])
    valkey.kill()
    valkey.start()
    before = replace(counters)

    publish([(BTC, signal_frame(closed_at=2))])

    assert counters.published == before.published + 1
    assert counters.publish_failures == before.publish_failures


def test_a_redis_that_hangs_is_waited_for_once_and_then_left_alone_for_a_while(valkey: Valkey) -> None:
    publish([(BTC, signal_frame(closed_at=1))])
    before = replace(counters)
    valkey.hang()
    try:
        publish([(BTC, signal_frame(closed_at=2))])
        valkey.go_on()
        publish([(BTC, signal_frame(closed_at=3))])
    finally:
        valkey.go_on()

    assert counters.publish_failures == before.publish_failures + 2
    assert counters.published == before.published


def test_a_forked_worker_does_not_share_its_parents_connection(heard: Any) -> None:
    publish([(BTC, signal_frame(closed_at=1))])
    children = [
        multiprocessing.get_context("fork").Process(target=publish, args=([(BTC, signal_frame(closed_at=slot))],))
        for slot in (2, 3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    publish([(BTC, signal_frame(closed_at=4))])

    slots = [heard()[0][1]["slot"] for _ in range(4)]
    assert slots[0] == 1
    assert sorted(slots) == [1, 2, 3, 4]
    assert slots[-1] == 4


def test_the_same_frame_of_the_same_group_has_one_identity_and_every_other_has_its_own() -> None:
    frames: list[tuple[str, Any]] = [
        (BTC, signal_frame(closed_at=1)),
        (BTC, signal_frame(closed_at=2)),
        (ETH, signal_frame(closed_at=1)),
        (BTC, signal_frame("ETHUSDT", closed_at=1)),
        (BTC, {**signal_frame(closed_at=1), "configuration": 2}),
        ("market_", sweep_closed_frame(slot=1)),
        ("market_", sweep_closed_frame(slot=2)),
        ("market_", {**sweep_closed_frame(slot=1), "feed": "premium:1:1"}),
    ]

    identities = [read(group, msgspec.json.encode(frame)).identity for group, frame in frames]

    assert len(set(identities)) == len(frames)
    assert read(BTC, msgspec.json.encode(signal_frame(closed_at=1))).identity == identities[0]
