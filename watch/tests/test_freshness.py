from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dashboard.tests.conftest import PERIOD, close_sweep, last_slot, note_heartbeat
from signals.models import CENTRAL, Sweep
from signals.services.evaluation import to_ms
from watch.services.freshness import (
    CANDLES_LATE,
    HEARTBEAT_SILENCE,
    MARKET_SILENCE,
    STREAM_GRACE,
    candle_freshness,
    freshness,
    market_freshness,
)

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
A_MOMENT = timedelta(milliseconds=1)


def test_before_the_first_sweep_there_is_nothing_to_rely_on(product: None) -> None:
    assert freshness(NOON).reason == "no sweep has been closed yet"
    assert market_freshness(NOON).reason == "the heartbeat has not reported yet"


def test_an_old_sweep_is_stale_however_alive_the_processes_are(product: None) -> None:
    close_sweep(last_slot() - 3 * PERIOD)

    assert "one is due every 120 s" in freshness(datetime.now(UTC)).reason


def test_sweeps_that_nobody_ran_and_those_of_others_do_not_count(product: None) -> None:
    Sweep.objects.create(feed=CENTRAL, slot=NOON, status=Sweep.Status.MISSED, started_at=NOON, closed_at=NOON)
    Sweep.objects.create(feed=CENTRAL, slot=NOON - PERIOD, started_at=NOON)
    Sweep.objects.create(feed="premium:1:1", slot=NOON, status=Sweep.Status.CLOSED, started_at=NOON, closed_at=NOON)

    assert freshness(NOON).is_stale


def test_a_sweep_without_one_good_ticker_is_not_fresh(product: None) -> None:
    close_sweep(NOON, ok=0, stale=30)

    assert "not one of the last sweep's 30 tickers" in freshness(NOON).reason


def test_the_feed_is_fresh_for_two_periods_and_no_longer(product: None) -> None:
    close_sweep(NOON)

    assert not freshness(NOON + 2 * PERIOD).is_stale
    assert freshness(NOON + 2 * PERIOD + timedelta(seconds=1)).is_stale


def test_the_rhythm_is_the_operators(product: None) -> None:
    from django_celery_beat.models import CrontabSchedule, PeriodicTask

    quarter, _ = CrontabSchedule.objects.get_or_create(minute="*/15", timezone="UTC")
    PeriodicTask.objects.filter(name="central sweep").update(crontab=quarter)
    close_sweep(NOON)

    feed = freshness(NOON + timedelta(minutes=29))

    assert not feed.is_stale
    assert feed.period == timedelta(minutes=15)
    assert feed.next_slot == NOON + timedelta(minutes=30)


@pytest.mark.parametrize(
    ("silent", "unheard", "is_connected", "reason"),
    [
        (0, 75, True, "no market data for 75 s"),
        (45, 45, True, "the heartbeat last reported 45 s ago"),
        (0, 40, False, "the exchange's stream is not connected, and was silent for 40 s"),
        (0, 2, False, ""),
        (0, 2, True, ""),
    ],
)
def test_market_data_that_no_longer_come_are_stale(
    product: None, silent: int, unheard: int, is_connected: bool, reason: str
) -> None:
    note_heartbeat(
        updated_at=NOON - timedelta(seconds=silent),
        last_message_at=NOON - timedelta(seconds=unheard),
        is_connected=is_connected,
    )

    assert market_freshness(NOON).reason == reason


def test_market_data_are_fresh_up_to_their_limits(product: None) -> None:
    note_heartbeat(updated_at=NOON - HEARTBEAT_SILENCE + A_MOMENT, last_message_at=NOON - MARKET_SILENCE)

    assert market_freshness(NOON).reason == ""
    assert market_freshness(NOON + A_MOMENT).reason != ""


def test_a_stream_that_was_cut_has_its_time_to_come_back(product: None) -> None:
    note_heartbeat(updated_at=NOON, last_message_at=NOON - STREAM_GRACE, is_connected=False)

    assert market_freshness(NOON).reason == ""
    assert market_freshness(NOON + A_MOMENT).reason != ""


def test_candles_have_their_time_to_come_in_and_are_late_after_it() -> None:
    marks = {"4h": to_ms(NOON), "2m": to_ms(NOON)}
    due = NOON + PERIOD  # the next 2m candle closes

    in_time = candle_freshness(marks, due + CANDLES_LATE)
    late = candle_freshness(marks, due + CANDLES_LATE + A_MOMENT)

    assert [one.reason for one in in_time] == ["", ""]
    assert [(one.timeframe, bool(one.reason)) for one in late] == [("2m", True), ("4h", False)]
    assert late[0].age == PERIOD + CANDLES_LATE + A_MOMENT
    assert "only up to 2026-11-20 12:00:00" in late[0].reason
