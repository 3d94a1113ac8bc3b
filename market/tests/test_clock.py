from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from market import clock
from market.clock import Offset, Reading


def reading(offset: float, error: float) -> Reading:
    """A look at a clock that is `offset` ms ahead, answered after 2 * `error` ms, evenly spent."""
    return Reading.taken(asked_ms=1_000, answered_ms=1_000 + 2 * error, server_ms=1_000 + error + offset)


def test_an_unknown_offset_is_none(live: Redis) -> None:
    assert clock.offset() == timedelta(0)


def test_every_process_learns_the_measured_offset(live: Redis) -> None:
    clock.publish_offset(timedelta(seconds=-90), "simulated")
    clock._cache.clear()  # another process

    before = datetime.now(UTC)
    told = clock.now()

    assert clock.offset() == timedelta(seconds=-90)
    assert before - timedelta(seconds=90) <= told <= datetime.now(UTC) - timedelta(seconds=90)


def test_each_exchange_has_its_own_offset(live: Redis) -> None:
    clock.publish_offset(timedelta(seconds=3), "binance")

    assert clock.offset("binance") == timedelta(seconds=3)
    assert clock.offset("simulated") == timedelta(0)


def test_the_quickest_round_trip_decides() -> None:
    offset = Offset()

    for taken in (reading(40, 90), reading(12, 3), reading(80, 120), reading(-30, 60)):
        offset.add(taken)

    assert offset.milliseconds == pytest.approx(12)


def test_a_single_wrong_answer_is_ignored() -> None:
    offset = Offset()
    for taken in (reading(10, 3), reading(5_000, 3), reading(11, 4)):
        offset.add(taken)

    assert offset.milliseconds == pytest.approx(10)


def test_a_clock_that_was_set_is_believed_when_it_says_so_twice() -> None:
    offset = Offset()
    for taken in (reading(10, 3), reading(11, 3), reading(5_000, 5), reading(5_001, 3)):
        offset.add(taken)

    assert offset.milliseconds == pytest.approx(5_001)


def test_a_clock_that_is_set_at_every_look_is_followed_all_the_same() -> None:
    offset = Offset()
    for step in range(7):
        offset.add(Reading(offset=60_000.0 * step, error=5))

    assert offset.milliseconds >= 60_000.0 * 5


def test_nothing_measured_is_no_offset() -> None:
    assert Offset().milliseconds == 0
