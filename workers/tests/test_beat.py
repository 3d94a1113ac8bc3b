"""Beat's rows on the market's clock, without a beat process: what is due when, and what its messages stand for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

from market import clock
from workers.beat import MarketEntry, SlotScheduler
from workers.celery import app

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Sent(SlotScheduler):
    """A scheduler that keeps what it would send."""

    def __init__(self) -> None:
        super().__init__(app=app, lazy=True)
        self.sent: list[dict[str, Any]] = []

    def send_task(self, *args: Any, **options: Any) -> None:
        self.sent.append(options)


def entry_of(**schedule: Any) -> MarketEntry:
    task = PeriodicTask.objects.create(
        name="row", task="not.a.task", last_run_at=NOON - timedelta(minutes=2), **schedule
    )
    return MarketEntry(task, app=app)


def every_2_minutes() -> dict[str, Any]:
    return {"crontab": CrontabSchedule.objects.create(minute="*/2", timezone="UTC")}


def every_5_seconds() -> dict[str, Any]:
    return {"interval": IntervalSchedule.objects.create(every=5, period="seconds")}


@pytest.mark.parametrize("skew", [-60, 0, 60])
@pytest.mark.parametrize("schedule", [every_2_minutes, every_5_seconds])
def test_a_wrong_clock_of_ours_makes_no_row_early_or_late(
    monkeypatch: pytest.MonkeyPatch, skew: int, schedule: Any
) -> None:
    monkeypatch.setattr(clock, "offset", lambda exchange=None: timedelta(seconds=-skew))
    with time_machine.travel(NOON + timedelta(seconds=skew, milliseconds=100), tick=False):
        entry = entry_of(**schedule())
        assert entry.is_due().is_due
        following = next(entry)
        assert following.model.last_run_at == NOON + timedelta(milliseconds=100)
        assert not following.is_due().is_due


def test_a_message_stands_for_the_instant_at_which_its_row_came_due(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, entry = Sent(), entry_of(**every_2_minutes())
    with time_machine.travel(NOON + timedelta(milliseconds=2), tick=False):
        next(entry)
    with time_machine.travel(NOON - timedelta(milliseconds=2), tick=False):  # the offset was measured anew meanwhile
        scheduler.apply_async(entry, advance=False)

    assert scheduler.sent[0]["headers"]["slot"] == NOON.isoformat()


def test_a_row_that_stands_for_no_grid_of_instants_is_sent_without_a_stamp() -> None:
    scheduler = Sent()
    clocked = ClockedSchedule.objects.create(clocked_time=NOON)

    scheduler.apply_async(entry_of(clocked=clocked, one_off=True), advance=False)

    assert "slot" not in scheduler.sent[0]["headers"]
