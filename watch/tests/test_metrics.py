from __future__ import annotations

import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from dashboard.tests.conftest import PERIOD, close_sweep, give_verdicts, last_slot, make_ticker, note_heartbeat
from live.counters import Counters
from market import weight
from signals.models import Sweep
from signals.services.following import central_configurations
from watch.metrics import database, process
from watch.metrics import stores as store_metrics
from watch.metrics.exposition import Metrics
from watch.services import stores
from watch.task_counters import TaskCounter


def values(families: Iterable[Metric]) -> dict[tuple[str, ...], float]:
    """(name, label values...) without our prefix -> value."""
    return {
        (sample.name.removeprefix("boritrader_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    """What was remembered belongs to rows of another test."""
    database._signals_of.cache_clear()
    database._size.cache_clear()


@pytest.mark.django_db
def test_the_last_sweep_is_described_by_its_row_and_its_verdicts(product: None) -> None:
    configurations, slot = central_configurations(), last_slot()
    tickers = [make_ticker(f"T{number}USDT") for number in range(5)]
    sweep = close_sweep(slot, ok=4, stale=1, results=60, calls=3)
    sweep.configuration_ids = [one.pk for one in configurations]
    sweep.started_at = slot + timedelta(seconds=1.5)
    sweep.save()
    give_verdicts(configurations, tickers)
    note_heartbeat(updated_at=datetime.now(UTC))

    found = values(database.look())

    assert found["sweep_duration_seconds",] == 1.84
    assert found["sweep_start_delay_seconds",] == 1.5
    by_status = {status: found["sweep_tickers", status] for status in ("ok", "stale", "failed", "missing")}
    assert by_status == {"ok": 4, "stale": 1, "failed": 0, "missing": 0}
    assert found["sweep_signals", "DO NOTHING"] == len(configurations) * len(tickers)
    assert (found["sweep_results",], found["sweep_calls",]) == (60, 3)
    assert 0 <= found["sweep_age_seconds",] <= 2 * PERIOD.total_seconds()
    assert found["sweeps_last_hour", "closed"] == 1
    assert 0 <= found["candle_age_seconds", "2m"] < 60
    assert found["exchange_connected",] == 1
    assert found["database_size_bytes",] > 1_000_000
    assert 0 < found["database_connections", "boritrader"] < found["database_max_connections",]


@pytest.mark.django_db
def test_missed_and_open_sweeps_are_counted(product: None) -> None:
    slot = last_slot()
    Sweep.objects.create(feed="central", slot=slot, status=Sweep.Status.MISSED, started_at=slot, closed_at=slot)
    Sweep.objects.create(feed="central", slot=slot - PERIOD, started_at=slot)
    Sweep.objects.create(feed="premium:1:1", slot=slot, started_at=slot)

    found = values(database.look())

    assert found["sweeps_last_hour", "missed"] == 1
    assert (found["sweeps_open", "central"], found["sweeps_open", "premium"]) == (1, 1)
    assert ("sweep_duration_seconds",) not in found


@pytest.mark.django_db
def test_verdicts_are_counted_once_per_sweep_and_sizes_once_a_minute(product: None) -> None:
    Sweep.objects.filter(pk=close_sweep(last_slot()).pk).update(configuration_ids=[1])
    with time_machine.travel(last_slot(), tick=False):
        with CaptureQueriesContext(connection) as first:
            database.look()
        with CaptureQueriesContext(connection) as second:
            database.look()

    heavy = ("signals_latestsignal", "pg_database_size")
    assert all(any(name in query["sql"] for query in first) for name in heavy)
    assert not any(name in query["sql"] for query in second for name in heavy)
    assert not any("signals_signalresult" in query["sql"] for query in first)


def test_each_queue_says_how_many_wait_and_how_long_the_next_has_waited() -> None:
    broker = stores.broker()
    broker.delete("sweep", "mail")
    for age in (30, 20, 10):
        broker.lpush("sweep", json.dumps({"headers": {"sent_at": time.time() - age}}))
    broker.lpush("mail", b"not ours")

    found = values(store_metrics.look_into_broker())

    assert [found["queue_messages", queue] for queue in ("sweep", "premium", "mail", "default")] == [3, 0, 1, 0]
    assert 30 <= found["queue_age_seconds", "sweep"] < 60
    assert found["queue_age_seconds", "mail"] == 0
    broker.delete("sweep", "mail")


def test_tasks_beat_and_the_exchanges_limit_come_from_the_live_store(emptied_live: None) -> None:
    counter = TaskCounter(every=3600)
    counter.add("signals.tasks.prune", "succeeded", 2.5)
    counter.add("signals.tasks.prune", "succeeded", 0.5)
    counter.add("signals.tasks.prune", "failed")
    counter.mark("beat")
    counter.hand_over()
    weight.publish(120, 6000, "simulated")

    found = values(store_metrics.look_into_live())

    assert found["tasks_total", "signals.tasks.prune", "succeeded"] == 2
    assert found["tasks_total", "signals.tasks.prune", "failed"] == 1
    assert found["task_seconds_total", "signals.tasks.prune"] == 3
    assert 0 <= found["beat_age_seconds",] < 60
    assert (found["exchange_weight_used",], found["exchange_weight_limit",]) == (120, 6000)
    assert found["live_memory_bytes",] > 0


def test_what_nobody_has_told_is_left_out_rather_than_zero(emptied_live: None) -> None:
    found = values(store_metrics.look_into_live())

    assert ("beat_age_seconds",) not in found
    assert ("exchange_weight_used",) not in found


def test_everything_the_web_process_counts_has_a_metric() -> None:
    special = {"sockets", "waiting", "lag_seconds", "looked_at"}

    assert set(process.COUNTED) | special == set(Counters.__dataclass_fields__)
    assert len({name for name, _ in process.COUNTED.values()}) == len(process.COUNTED)


async def test_a_part_that_is_away_says_so_and_the_others_are_there() -> None:
    def refuse() -> list[Metric]:
        raise DatabaseError("connection refused")

    metrics = Metrics({"database": refuse, "live": store_metrics.look_into_live})

    found: dict[tuple[str, ...], Any] = values(text_string_to_metric_families((await metrics.exposition()).decode()))

    assert (found["up", "database"], found["up", "live"]) == (0, 1)
    assert ("live_memory_bytes",) in found
    assert ("sweep_age_seconds",) not in found
