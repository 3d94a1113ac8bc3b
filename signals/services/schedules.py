"""Schedules: the instants a row of django-celery-beat stands for, and the rows of premium users."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import count, takewhile
from typing import Any
from zoneinfo import ZoneInfo

from celery.schedules import crontab
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from signals.models import AlgorithmPreferences

PREMIUM_PREFIX = "premium:"
# A schedule or crontab of celery; celery-types does not know their fields.
Timetable = Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def latest_instant(timetable: Timetable, *, at: datetime) -> datetime:
    """The newest instant at or before `at` that the schedule stands for, in UTC.

    A crontab stands for its wall-clock minutes in its own time zone; an interval for the multiples of itself since
    1970. Where a wall-clock time is skipped by daylight saving it stands for the instant an hour later, as beat runs
    it.
    """
    return next(instants_up_to(timetable, at=at))


def instants_up_to(timetable: Timetable, *, at: datetime) -> Iterator[datetime]:
    """The instants at or before `at` that the schedule stands for, newest first, without end."""
    if isinstance(timetable, crontab):
        yield from _of_crontab(timetable, at)
        return
    newest = at - (at - EPOCH) % timetable.run_every
    yield from (newest - number * timetable.run_every for number in count())


def _of_crontab(timetable: Timetable, at: datetime) -> Iterator[datetime]:
    zone = timetable.tz if isinstance(timetable.tz, ZoneInfo) else ZoneInfo(str(timetable.tz))
    hours, minutes = tuple(sorted(timetable.hour)), tuple(sorted(timetable.minute))
    today = at.astimezone(zone).date()
    for days in count():  # an instant is found: celery refuses a crontab whose day never comes
        day = today - timedelta(days=days)
        if _is_day_of(timetable, day):
            yield from (instant for instant in _instants_of(day, hours, minutes, zone) if instant <= at)


@lru_cache(maxsize=16)  # today's is asked for every few seconds
def _instants_of(day: date, hours: tuple[int, ...], minutes: tuple[int, ...], zone: ZoneInfo) -> tuple[datetime, ...]:
    """The instants at which clocks in the zone show these times on a day, newest first."""
    walls = (time(hour, minute) for hour in hours for minute in minutes)
    instants = {instant for wall in walls for instant in _instants_at(day, wall, zone)}
    return tuple(sorted(instants, reverse=True))


def _instants_at(day: date, wall: time, zone: ZoneInfo) -> list[datetime]:
    """The instants at which clocks in the zone show this time; of a skipped time, the one beat runs at."""
    first, second = (datetime.combine(day, wall.replace(fold=fold), zone).astimezone(UTC) for fold in (0, 1))
    return [second, first] if second > first else [first]


def _is_day_of(timetable: Timetable, day: date) -> bool:
    return bool(
        day.month in timetable.month_of_year
        and day.day in timetable.day_of_month
        and day.isoweekday() % 7 in timetable.day_of_week
    )


def instants_between(timetable: Timetable, *, after: datetime, before: datetime) -> list[datetime]:
    """The instants strictly between two, newest first."""
    earlier = instants_up_to(timetable, at=before - timedelta(microseconds=1))
    return list(takewhile(lambda instant: instant > after, earlier))


def sync_premium_schedule(*, preference: AlgorithmPreferences) -> PeriodicTask | None:
    """Makes beat's row say what the preference says; without a schedule of its own there is none."""
    name = preference.feed
    if not preference.execution_frequency:
        PeriodicTask.objects.filter(name=name).delete()
        return None
    minute, hour, day_of_month, month_of_year, day_of_week = preference.execution_frequency.split()
    timetable, _ = CrontabSchedule.objects.get_or_create(
        minute=minute,
        hour=hour,
        day_of_month=day_of_month,
        month_of_year=month_of_year,
        day_of_week=day_of_week,
        timezone="UTC",
    )
    task, _ = PeriodicTask.objects.update_or_create(
        name=name,
        defaults={
            "task": "signals.tasks.premium_sweep",
            "crontab": timetable,
            "interval": None,
            "kwargs": json.dumps({"preference_id": preference.pk}),
            "enabled": preference.is_enabled,
            "expire_seconds": 60,
        },
    )
    return task
