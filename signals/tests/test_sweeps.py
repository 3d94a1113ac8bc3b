from __future__ import annotations

import base64
import json
import os
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.db import connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from kombu.exceptions import OperationalError as BrokerError
from pytest_django import Settings
from redis import Redis

from accounts.models import User
from market import clock, watermark
from market.connection import live_store
from market.models import HeartbeatStatus, Ticker
from signals import tasks
from signals.models import AlgorithmPreferences, LatestSignal, SignalResult, Sweep, TickerRun
from signals.services.configurations import configuration_for
from signals.services.schedules import latest_instant
from signals.services.sweeps import (
    LATE_SLOTS,
    NotEntitled,
    check_sweep,
    open_central_sweep,
    open_premium_sweep,
    overdue_slots,
    record_missed_slots,
)
from signals.tasks import central_sweep, close_sweeps, evaluate_tickers, premium_sweep
from signals.tests.conftest import ALGORITHMS, NOON, open_sweep
from signals.tests.test_schedules import EVERY_2_MINUTES


@pytest.fixture(autouse=True)
def _empty_queues() -> None:
    broker().delete("sweep", "premium", "default")


def queued(queue: str) -> list[dict[str, object]]:
    """The keyword arguments of the tasks that wait in a queue, oldest first."""
    messages = [json.loads(message) for message in broker().lrange(queue, 0, -1)]
    return [json.loads(base64.b64decode(message["body"]))[1] for message in reversed(messages)]


def broker() -> Redis:
    return Redis.from_url(os.environ["BROKER_URL"])


def test_a_sweep_covers_every_active_ticker_and_every_enabled_algorithm(tickers: list[Ticker]) -> None:
    Ticker.objects.filter(pk=tickers[2].pk).update(status=Ticker.Status.DELISTED)

    sweep = open_sweep(NOON)

    assert sweep.ticker_ids == [tickers[0].pk, tickers[1].pk]
    assert len(sweep.configuration_ids) == ALGORITHMS


def test_a_doubled_beat_runs_a_slot_once(tickers: list[Ticker]) -> None:
    first = open_central_sweep(slot=NOON, note="", now=NOON)
    second = open_central_sweep(slot=NOON, note="", now=NOON + timedelta(milliseconds=3))

    assert first is not None
    assert second is None
    assert Sweep.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_beats_at_the_same_time_run_a_slot_once(tickers: list[Ticker]) -> None:
    watermark.publish({"2m": int(NOON.timestamp() * 1000)})

    def run() -> None:
        try:
            central_sweep.apply(kwargs={"slot": NOON.isoformat()}, throw=True)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Sweep.objects.count() == 1
    assert [task["ticker_ids"] for task in queued("sweep")] == [[ticker.pk] for ticker in tickers]


def test_slots_that_nobody_ran_are_run_late_while_they_are_recent(tickers: list[Ticker]) -> None:
    open_sweep(NOON)
    open_sweep(NOON + timedelta(minutes=8))

    overdue = overdue_slots(market_now=NOON + timedelta(minutes=10, seconds=6))
    record_missed_slots(market_now=NOON + timedelta(minutes=10, seconds=6), now=NOON)

    assert overdue == [NOON + timedelta(minutes=minute) for minute in (2, 4, 6, 10)]
    assert not Sweep.objects.filter(status=Sweep.Status.MISSED).exists()


def test_older_ones_are_recorded_as_missed_and_not_run(tickers: list[Ticker]) -> None:
    open_sweep(NOON)
    period, at = timedelta(minutes=2), NOON + timedelta(hours=2)

    for _ in range(2):
        record_missed_slots(market_now=at, now=at)
    overdue = overdue_slots(market_now=at + timedelta(seconds=6))

    missed = Sweep.objects.filter(status=Sweep.Status.MISSED).order_by("slot")
    assert overdue == [at - (LATE_SLOTS - 1 - number) * period for number in range(LATE_SLOTS)]
    assert [sweep.slot for sweep in missed] == [NOON + number * period for number in range(1, 60 - LATE_SLOTS + 1)]
    assert missed[0].note.startswith("nobody ran it")
    assert {sweep.closed_at for sweep in missed} == {at}


def test_a_slot_that_was_lost_just_before_a_long_stop_is_recorded_too(tickers: list[Ticker]) -> None:
    open_sweep(NOON)
    open_sweep(NOON + timedelta(minutes=4))

    record_missed_slots(market_now=NOON + timedelta(hours=2), now=NOON)

    missed = Sweep.objects.filter(status=Sweep.Status.MISSED).values_list("slot", flat=True)
    assert NOON + timedelta(minutes=2) in missed
    assert NOON + timedelta(minutes=4) not in missed


def test_late_slots_come_a_few_at_a_time_and_wait_for_what_is_at_work(tickers: list[Ticker]) -> None:
    watermark.publish({"2m": 2**42})
    newest = latest_instant(EVERY_2_MINUTES, at=datetime.now(UTC) - timedelta(seconds=6))
    first = open_sweep(newest - timedelta(minutes=20))

    close_sweeps()
    assert [task for task in queued("sweep") if "slot" in task] == []

    Sweep.objects.filter(pk=first.pk).update(status=Sweep.Status.CLOSED)
    close_sweeps()

    slots = [task["slot"] for task in queued("sweep") if "slot" in task]
    assert slots == [(first.slot + number * timedelta(minutes=2)).isoformat() for number in range(1, 5)]


def test_late_slots_do_not_wait_for_the_present_sweep(tickers: list[Ticker], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a look comes just after each slot, the present sweep is at work at every look."""
    watermark.publish({"2m": 2**42})
    newest = latest_instant(EVERY_2_MINUTES, at=datetime.now(UTC))
    monkeypatch.setattr(clock, "now", lambda: newest + timedelta(seconds=1))
    first = open_sweep(newest - timedelta(minutes=6))
    Sweep.objects.filter(pk=first.pk).update(status=Sweep.Status.CLOSED)
    open_sweep(newest)

    close_sweeps()

    slots = [task["slot"] for task in queued("sweep") if "slot" in task]
    assert slots == [(newest - timedelta(minutes=minutes)).isoformat() for minutes in (4, 2)]


def test_a_late_slot_gets_the_verdicts_of_its_own_candles(tickers: list[Ticker]) -> None:
    late, newest = NOON, NOON + timedelta(minutes=2)
    slots = {}
    for slot in (newest, late):
        sweep = open_sweep(slot)
        evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)
        check_sweep(sweep=sweep, now=datetime.now(UTC))
        sweep.refresh_from_db()
        slots[slot] = (sweep.status, sweep.ok, sweep.results)

    assert slots[late] == (Sweep.Status.CLOSED, len(tickers), 0)  # the newer sweep has written its candles, too
    assert not SignalResult.objects.filter(slot=late).exists()
    assert LatestSignal.objects.filter(candle_closed_at=newest).count() == len(tickers) * ALGORITHMS


def test_the_slot_stamped_by_beat_is_the_slot_of_the_sweep(tickers: list[Ticker]) -> None:
    watermark.publish({"2m": int(NOON.timestamp() * 1000)})

    central_sweep.apply(headers={"slot": NOON.isoformat()}, throw=True)

    assert Sweep.objects.get().slot == NOON


def test_run_now_takes_the_newest_instant_of_the_schedule(tickers: list[Ticker]) -> None:
    watermark.publish({"2m": 2**42})
    before = datetime.now(UTC)

    central_sweep.apply(throw=True)

    slot = Sweep.objects.get().slot
    assert slot.minute % 2 == 0
    assert slot.second == slot.microsecond == 0
    assert timedelta(0) <= before - slot < timedelta(minutes=2, seconds=5)


def test_a_slot_without_a_time_zone_is_refused(tickers: list[Ticker]) -> None:
    with pytest.raises(ValueError, match="2026-11-21T12:02:00Z"):
        central_sweep.apply(kwargs={"slot": "2026-11-20T12:00:00"}, throw=True)

    assert not Sweep.objects.exists()


def test_before_the_first_backfill_there_is_no_sweep(tickers: list[Ticker], settings: Settings) -> None:
    settings.WATERMARK_WAIT = timedelta(0)
    watermark.publish({})

    central_sweep.apply(kwargs={"slot": NOON.isoformat()}, throw=True)

    assert not Sweep.objects.exists()


def test_an_emptied_redis_does_not_stop_the_sweep(tickers: list[Ticker]) -> None:
    live_store().flushdb()
    now = datetime.now(UTC)
    HeartbeatStatus.objects.create(
        exchange="simulated", updated_at=now, watermarks={"2m": int(NOON.timestamp() * 1000)}
    )

    central_sweep.apply(kwargs={"slot": NOON.isoformat()}, throw=True)

    assert Sweep.objects.get().note == ""


def test_a_sweep_says_what_was_late(tickers: list[Ticker], settings: Settings) -> None:
    settings.WATERMARK_WAIT = timedelta(0)
    watermark.publish({"2m": int((NOON - timedelta(minutes=2)).timestamp() * 1000)})

    central_sweep.apply(kwargs={"slot": NOON.isoformat()}, throw=True)

    assert Sweep.objects.get().note == "2m candles complete only up to 11:58:00"


def test_a_finished_sweep_is_closed_with_its_counts(sweep: Sweep) -> None:
    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)

    close_sweeps()

    sweep.refresh_from_db()
    assert (sweep.status, sweep.ok, sweep.results) == (Sweep.Status.CLOSED, 3, 3 * ALGORITHMS * 10)
    assert sweep.calls == sum(TickerRun.objects.values_list("calls", flat=True))


def test_a_slot_whose_message_was_lost_is_sent_again_once_its_candles_are_there(tickers: list[Ticker]) -> None:
    slot = latest_instant(EVERY_2_MINUTES, at=datetime.now(UTC) - timedelta(seconds=6))
    watermark.publish({"2m": int(slot.timestamp() * 1000) - 1})
    close_sweeps()
    assert queued("sweep") == []

    watermark.publish({"2m": 2**42})
    close_sweeps()

    assert queued("sweep") == [{"slot": slot.isoformat()}]
    open_sweep(slot)
    assert overdue_slots(market_now=slot + timedelta(seconds=6)) == []


def test_a_slot_is_given_some_seconds_before_it_counts_as_lost(tickers: list[Ticker]) -> None:
    open_sweep(NOON)
    slot = NOON + timedelta(minutes=2)

    assert overdue_slots(market_now=slot + timedelta(seconds=4)) == []
    assert overdue_slots(market_now=slot + timedelta(seconds=5)) == [slot]


def test_while_the_operator_has_stopped_the_feed_nothing_is_run_late_or_missed(tickers: list[Ticker]) -> None:
    open_sweep(NOON)
    PeriodicTask.objects.filter(name="central sweep").update(enabled=False)

    overdue = overdue_slots(market_now=NOON + timedelta(hours=3))
    record_missed_slots(market_now=NOON + timedelta(hours=3), now=NOON)

    assert overdue == []
    assert Sweep.objects.count() == 1


def test_one_sweep_in_trouble_does_not_stop_the_closing_of_the_others(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = open_sweep(NOON + timedelta(minutes=2))
    evaluate_tickers(sweep_id=following.pk, ticker_ids=following.ticker_ids)
    Sweep.objects.filter(pk=sweep.pk).update(started_at=datetime.now(UTC) - settings.SWEEP_RESEND_AFTER)

    def unreachable(*args: object, **kwargs: object) -> None:
        raise BrokerError("no broker")

    monkeypatch.setattr(tasks, "_fan_out", unreachable)
    close_sweeps()

    sweep.refresh_from_db()
    following.refresh_from_db()
    assert (sweep.status, sweep.resent_at) == (Sweep.Status.OPEN, None)
    assert following.status == Sweep.Status.CLOSED


def test_a_sweep_is_closed_by_one_caller(sweep: Sweep) -> None:
    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)
    now = datetime.now(UTC)

    assert check_sweep(sweep=sweep, now=now).closed is not None
    assert check_sweep(sweep=sweep, now=now).closed is None


def test_unanswered_tickers_are_sent_again_once(sweep: Sweep) -> None:
    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids[:1])
    Sweep.objects.update(started_at=datetime.now(UTC) - settings.SWEEP_RESEND_AFTER)

    close_sweeps()
    close_sweeps()

    sent_again = [task["ticker_ids"] for task in queued("sweep") if "ticker_ids" in task]
    assert sent_again == [[ticker] for ticker in sweep.ticker_ids[1:]]
    sweep.refresh_from_db()
    assert sweep.status == Sweep.Status.OPEN


def test_a_feed_of_a_quick_rhythm_sends_unanswered_tickers_again_sooner(sweep: Sweep) -> None:
    age = timedelta(seconds=11)
    Sweep.objects.update(started_at=datetime.now(UTC) - age)
    close_sweeps()
    assert [task for task in queued("sweep") if "ticker_ids" in task] == []

    every_5_s, _ = IntervalSchedule.objects.get_or_create(every=5, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.filter(name="central sweep").update(interval=every_5_s, crontab=None)
    close_sweeps()

    assert len([task for task in queued("sweep") if "ticker_ids" in task]) == len(sweep.ticker_ids)


def test_tickers_nobody_answered_for_are_missing_and_the_sweep_closes(sweep: Sweep) -> None:
    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids[:1])
    Sweep.objects.update(started_at=datetime.now(UTC) - settings.SWEEP_MISSING_AFTER)

    close_sweeps()

    sweep.refresh_from_db()
    assert (sweep.status, sweep.ok, sweep.missing) == (Sweep.Status.CLOSED, 1, 2)


def test_premium_sweeps_belong_to_their_own_feed(tickers: list[Ticker], alice: User) -> None:
    preference = _premium(alice, tickers[0])

    central = open_sweep(NOON)
    premium = open_premium_sweep(preference_id=preference.pk, slot=NOON, now=datetime.now(UTC))

    assert premium is not None
    assert premium.feed == f"premium:{alice.pk}:{preference.pk}" != central.feed
    assert premium.ticker_ids == [tickers[0].pk]


def test_a_plan_that_ended_runs_nothing(tickers: list[Ticker], bob: User) -> None:
    preference = _premium(bob, tickers[0])
    watermark.publish({"2m": int(NOON.timestamp() * 1000)})

    with pytest.raises(NotEntitled):
        open_premium_sweep(preference_id=preference.pk, slot=NOON, now=NOON)
    premium_sweep.apply(kwargs={"preference_id": preference.pk, "slot": NOON.isoformat()}, throw=True)

    assert not Sweep.objects.exists()
    assert queued("premium") == []


def test_a_premium_task_run_twice_sends_its_tickers_once(tickers: list[Ticker], alice: User) -> None:
    preference = _premium(alice, tickers[0])
    watermark.publish({"2m": int(NOON.timestamp() * 1000)})

    for _ in range(2):
        premium_sweep.apply(kwargs={"preference_id": preference.pk, "slot": NOON.isoformat()}, throw=True)

    assert [task["ticker_ids"] for task in queued("premium")] == [[tickers[0].pk]]
    assert queued("sweep") == []


def test_a_task_of_a_deleted_preference_is_quietly_dropped(product: None) -> None:
    premium_sweep.apply(kwargs={"preference_id": 4711, "slot": NOON.isoformat()}, throw=True)

    assert not Sweep.objects.exists()


def _premium(user: User, ticker: Ticker) -> AlgorithmPreferences:
    preference = AlgorithmPreferences.objects.create(
        user=user,
        configuration=configuration_for(algorithm_id="rsi", timeframe="2m", parameters={}, now=NOON),
        execution_frequency=AlgorithmPreferences.Frequency.EVERY_2_MINUTES,
    )
    preference.tickers.add(ticker)
    return preference
