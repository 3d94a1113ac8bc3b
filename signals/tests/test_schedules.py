from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from celery.schedules import crontab, schedule
from django_celery_beat.models import PeriodicTask
from django_celery_beat.tzcrontab import TzAwareCrontab
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from billing.models import PlanGrant
from signals.models import AlgorithmPreferences
from signals.services.bots import cleanup_inactive_bots
from signals.services.configurations import configuration_for
from signals.services.schedules import (
    _instants_of,
    instants_between,
    instants_up_to,
    latest_instant,
    sync_premium_schedule,
)
from signals.tests.conftest import NOON

EVERY_2_MINUTES = TzAwareCrontab(minute="*/2", tz=ZoneInfo("UTC"))
instants = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def test_an_instant_stands_for_itself() -> None:
    assert latest_instant(EVERY_2_MINUTES, at=NOON) == NOON
    assert latest_instant(EVERY_2_MINUTES, at=NOON - timedelta(microseconds=1)) == NOON - timedelta(minutes=2)


@given(at=instants, minutes=st.sampled_from([1, 2, 5, 15, 30]))
def test_a_crontab_of_minutes_stands_for_the_multiples_of_its_minutes(at: datetime, minutes: int) -> None:
    found = latest_instant(TzAwareCrontab(minute=f"*/{minutes}", tz=ZoneInfo("UTC")), at=at)

    assert timedelta(0) <= at - found < timedelta(minutes=minutes)
    assert found.minute % minutes == 0
    assert found.second == found.microsecond == 0


@given(at=instants, zone=st.sampled_from(["America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"]))
def test_beat_would_call_the_instant_due_and_none_after_it(at: datetime, zone: str) -> None:
    timetable = TzAwareCrontab(minute="30", hour="9", day_of_week="1-5", tz=ZoneInfo(zone))

    found = latest_instant(timetable, at=at)

    local = found.astimezone(ZoneInfo(zone))
    assert (local.hour, local.minute) == (9, 30)
    assert local.weekday() < 5
    assert found <= at
    assert latest_instant(timetable, at=found + timedelta(hours=12)) in {found, *_within_a_day(timetable, found)}


def _within_a_day(timetable: crontab, at: datetime) -> list[datetime]:
    return instants_between(timetable, after=at, before=at + timedelta(days=1))


def test_a_wall_clock_time_skipped_in_spring_stands_for_an_hour_later() -> None:
    timetable = TzAwareCrontab(minute="30", hour="2", tz=ZoneInfo("America/New_York"))

    found = latest_instant(timetable, at=datetime(2026, 3, 8, 12, tzinfo=UTC))

    assert found.astimezone(ZoneInfo("America/New_York")).strftime("%d %H:%M") == "08 03:30"


def test_an_interval_stands_for_its_multiples_since_1970() -> None:
    assert latest_instant(schedule(timedelta(seconds=5)), at=NOON + timedelta(seconds=7)) == NOON + timedelta(seconds=5)


def test_the_instants_between_two_slots_are_those_nobody_ran() -> None:
    found = instants_between(EVERY_2_MINUTES, after=NOON, before=NOON + timedelta(minutes=6))

    assert found == [NOON + timedelta(minutes=4), NOON + timedelta(minutes=2)]


def test_a_premium_preference_has_one_row_in_beat(product: None, alice: User) -> None:
    preference = _preference(alice)

    sync_premium_schedule(preference=preference)
    sync_premium_schedule(preference=preference)

    task = PeriodicTask.objects.get(name=f"premium:{alice.pk}:{preference.pk}")
    assert task.task == "signals.tasks.premium_sweep"
    assert task.kwargs == f'{{"preference_id": {preference.pk}}}'
    assert str(task.crontab).startswith("*/5 * * * *")


def test_without_a_frequency_there_is_no_row(product: None, alice: User) -> None:
    preference = _preference(alice)
    sync_premium_schedule(preference=preference)

    preference.execution_frequency = AlgorithmPreferences.Frequency.CENTRAL
    sync_premium_schedule(preference=preference)

    assert not PeriodicTask.objects.filter(name__startswith="premium:").exists()


def test_schedules_of_users_whose_plan_ended_are_switched_off(product: None, alice: User, bob: User) -> None:
    for user in (alice, bob):
        sync_premium_schedule(preference=_preference(user))

    assert cleanup_inactive_bots(now=NOON) == 1
    assert cleanup_inactive_bots(now=NOON) == 0

    enabled = PeriodicTask.objects.filter(name__startswith="premium:", enabled=True)
    assert [task.name.split(":")[1] for task in enabled] == [str(alice.pk)]


def test_a_schedule_goes_on_when_the_plan_is_renewed(product: None, alice: User) -> None:
    task = sync_premium_schedule(preference=_preference(alice))
    assert task is not None
    PlanGrant.objects.filter(user=alice).update(ends_at=NOON)
    assert cleanup_inactive_bots(now=NOON) == 1

    PlanGrant.objects.create(user=alice, plan="premium", starts_at=NOON, reason="renewed")
    cleanup_inactive_bots(now=NOON + timedelta(minutes=10))

    task.refresh_from_db()
    assert task.enabled


def test_a_schedule_the_operator_switched_off_stays_off(product: None, alice: User) -> None:
    task = sync_premium_schedule(preference=_preference(alice))
    assert task is not None
    PeriodicTask.objects.filter(pk=task.pk).update(enabled=False)

    cleanup_inactive_bots(now=NOON)

    task.refresh_from_db()
    assert not task.enabled


def _preference(user: User) -> AlgorithmPreferences:
    return AlgorithmPreferences.objects.create(
        user=user,
        configuration=configuration_for(algorithm_id="rsi", timeframe="5m", parameters={}, now=NOON),
        execution_frequency=AlgorithmPreferences.Frequency.EVERY_5_MINUTES,
    )


def test_three_months_of_slots_look_at_each_day_once() -> None:
    _instants_of.cache_clear()

    found = instants_between(EVERY_2_MINUTES, after=NOON - timedelta(days=90), before=NOON)

    assert len(found) == 90 * 720 - 1
    assert _instants_of.cache_info().misses == 91


def test_the_hour_that_comes_twice_in_autumn_is_told_in_the_order_of_time() -> None:
    timetable = TzAwareCrontab(minute="*/30", tz=ZoneInfo("Europe/Berlin"))
    midnight = datetime(2026, 10, 25, 4, 0, tzinfo=UTC)

    found = list(islice(instants_up_to(timetable, at=midnight), 12))

    assert found == [midnight - number * timedelta(minutes=30) for number in range(12)]
