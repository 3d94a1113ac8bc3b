"""What is past its retention goes, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Notification, User
from market import partitions
from market.partitions import drop_partitions, ensure_partition, list_partitions
from signals.models import CENTRAL, Sweep
from signals.services import housekeeping
from signals.services.housekeeping import prune
from signals.services.results import RECEIPTS, RESULTS

NOW = datetime(2041, 6, 15, 0, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def no_partitions_left(transactional_db: None) -> Iterator[None]:
    """Emptying tables leaves partitions standing: those of the tests before, and these."""

    def drop_all() -> None:
        for table in (RESULTS, RECEIPTS):
            drop_partitions(table, before=datetime(2099, 1, 1, tzinfo=UTC))
        partitions._known.clear()

    drop_all()
    yield
    drop_all()


def make_sweep(slot: datetime, status: str = Sweep.Status.CLOSED) -> Sweep:
    return Sweep.objects.create(feed=CENTRAL, slot=slot, status=status, started_at=slot)


def test_a_day_goes_when_all_of_it_is_past_its_retention(no_partitions_left: None) -> None:
    oldest_kept = NOW - settings.SIGNAL_RETENTION
    for table in (RESULTS, RECEIPTS):
        for day in (-2, -1, 0, 1):
            ensure_partition(table, oldest_kept + timedelta(days=day))

    counts = prune(now=NOW)

    assert counts["partitions"] == 4
    for table in (RESULTS, RECEIPTS):
        assert list_partitions(table) == [table.partition(oldest_kept + timedelta(days=day)) for day in (0, 1)]
    assert prune(now=NOW)["partitions"] == 0


@pytest.mark.django_db
def test_old_sweeps_go_in_batches_and_open_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "BATCH", 2)
    edge = NOW - settings.SWEEP_RETENTION
    for number in range(5):
        make_sweep(edge - SECOND - timedelta(minutes=number))
    kept = [make_sweep(edge), make_sweep(edge - timedelta(days=9), Sweep.Status.OPEN)]

    with CaptureQueriesContext(connection) as queries:
        counts = prune(now=NOW)

    assert counts["sweeps"] == 5
    assert set(Sweep.objects.all()) == set(kept)
    assert len([one for one in queries if one["sql"].startswith('DELETE FROM "signals_sweep"')]) == 3


@pytest.mark.django_db
def test_old_notifications_go(bob: User) -> None:
    edge = NOW - settings.NOTIFICATION_RETENTION
    Notification.objects.create(user=bob, title="old", created_at=edge - SECOND)
    new = Notification.objects.create(user=bob, title="new", created_at=edge)

    assert prune(now=NOW)["notifications"] == 1
    assert list(Notification.objects.all()) == [new]
