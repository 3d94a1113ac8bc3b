"""Schedules: the instants a row of django-celery-beat stands for, and the rows of premium users."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
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
    if isinstance(timetable, crontab):
        return _latest_of_crontab(timetable, at)
    elapsed: timedelta = (at - EPOCH) % timetable.run_every
    return at - elapsed


def _latest_of_crontab(timetable: Timetable, at: datetime) -> datetime:
    zone = timetable.tz if isinstance(timetable.tz, ZoneInfo) else ZoneInfo(str(timetable.tz))
    today = at.astimezone(zone).date()
    for days in count():  # ends: celery refuses a crontab whose day never comes
        day = today - timedelta(days=days)
        if not _is_day_of(timetable, day):
            continue
        for hour in sorted(timetable.hour, reverse=True):
            for minute in sorted(timetable.minute, reverse=True):
                for instant in _instants_at(day, time(hour, minute), zone):
                    if instant <= at:
                        return instant
    raise AssertionError("count() has no end")


def _instants_at(day: date, wall: time, zone: ZoneInfo) -> list[datetime]:
    """The instants at which clocks in the zone show this time, newest first; of a skipped time, the one beat runs at."""
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
    instants: list[datetime] = []
    at = before
    while (at := latest_instant(timetable, at=at - timedelta(microseconds=1))) > after:
        instants.append(at)
    return instants


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
