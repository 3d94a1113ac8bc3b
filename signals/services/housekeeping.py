"""The rows the product needs, and the rows it no longer needs."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from accounts.models import Notification
from engine import registry
from market.partitions import drop_partitions
from market.services import bootstrap_universe
from signals.models import Algorithm, Sweep
from signals.services.bots import get_or_create_master_bot
from signals.services.results import RECEIPTS, RESULTS
from signals.services.sweeps import CENTRAL_TASK_NAME

BATCH = 1000


@transaction.atomic
def bootstrap(*, now: datetime) -> None:
    """Makes the rows the product needs: the universe, the algorithms, the master bot, beat's schedules.

    Idempotent, safe to run on several machines at once; what an operator has edited is never overwritten.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('bootstrap'))")
    bootstrap_universe(settings.EXCHANGE)
    for algorithm in registry.all_algorithms():
        Algorithm.objects.get_or_create(
            id=algorithm.id, defaults={"name": algorithm.name, "description": algorithm.description}
        )
    get_or_create_master_bot(now=now)
    _every(f"*/{settings.SWEEP_EVERY_MINUTES} * * * *", CENTRAL_TASK_NAME, "signals.tasks.central_sweep", expires=60)
    _every("7 * * * *", "discover tickers", "market.tasks.populate_tickers", expires=1800)
    _every("20 0 * * *", "prune candles", "market.tasks.prune_candles", expires=3600)
    _every("30 0 * * *", "prune signals", "signals.tasks.prune", expires=3600)
    _every("*/10 * * * *", "clean up inactive bots", "signals.tasks.cleanup_inactive_bots", expires=300)
    _every("*/5 * * * *", "score calls", "signals.tasks.score_calls", expires=300)
    _every("12 * * * *", "build the record", "signals.tasks.build_record", expires=1800)
    _every("42 2 * * 0", "build all of the record", "signals.tasks.build_record", expires=7200, everything=True)
    _every("15 0 * * *", "write the ledger", "signals.tasks.write_ledger", expires=3600)
    _every("5 1 * * *", "replay yesterday", "signals.tasks.replay_day", expires=7200)
    five_seconds, _ = IntervalSchedule.objects.get_or_create(every=5, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.get_or_create(
        name="close sweeps",
        defaults={"task": "signals.tasks.close_sweeps", "interval": five_seconds, "expire_seconds": 10},
    )


def _every(cron: str, name: str, task: str, *, expires: int, **arguments: Any) -> None:
    if PeriodicTask.objects.filter(name=name).exists():
        return  # with whatever schedule the operator has given it
    minute, hour, day_of_month, month_of_year, day_of_week = cron.split()
    timetable, _ = CrontabSchedule.objects.get_or_create(
        minute=minute,
        hour=hour,
        day_of_month=day_of_month,
        month_of_year=month_of_year,
        day_of_week=day_of_week,
        timezone="UTC",
    )
    PeriodicTask.objects.create(
        name=name, task=task, crontab=timetable, kwargs=json.dumps(arguments), expire_seconds=expires
    )


def prune(*, now: datetime) -> dict[str, int]:
    """Drops verdicts, receipts, sweeps and notifications past their retention; says how many partitions and rows."""
    old_results = drop_partitions(RESULTS, before=now - settings.SIGNAL_RETENTION)
    old_receipts = drop_partitions(RECEIPTS, before=now - settings.SIGNAL_RETENTION)
    sweeps = Sweep.objects.filter(slot__lt=now - settings.SWEEP_RETENTION).exclude(status=Sweep.Status.OPEN)
    notifications = Notification.objects.older_than(now - settings.NOTIFICATION_RETENTION)
    return {
        "partitions": len(old_results) + len(old_receipts),
        "sweeps": _delete_in_batches(sweeps),
        "notifications": _delete_in_batches(notifications),
    }


def _delete_in_batches(old: QuerySet[Any]) -> int:
    """Rows by the thousand, each batch its own statement: no lock lasts, and none comes near the worker's time-out."""
    deleted = 0
    while True:
        batch: int = old.model._default_manager.filter(pk__in=old.values("pk")[:BATCH]).delete()[0]
        deleted += batch
        if batch < BATCH:
            return deleted
