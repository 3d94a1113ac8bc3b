from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from market import partitions
from market.candles import Block, candle_table, load_candles, write_candles
from market.partitions import drop_partitions, ensure_partition, list_partitions
from market.services import prune_candles
from market.tests.test_candles import rows_of

DAY = datetime(2031, 3, 14, 15, 9, tzinfo=UTC)
TABLE = candle_table("1m")

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_partitions_of_ours() -> Iterator[None]:
    """Emptying tables leaves partitions standing: these are of years that no other test uses."""
    partitions._known.clear()
    yield
    for table in (TABLE, candle_table("4h")):
        drop_partitions(table, before=datetime(2099, 1, 1, tzinfo=UTC))
    partitions._known.clear()


@contextlib.contextmanager
def other_connection() -> Iterator[Any]:
    """Another session, in a transaction."""
    other = connection.copy()
    other.set_autocommit(False)
    try:
        yield other
    finally:
        other.rollback()
        other.close()


def at_once(*work: Callable[[], object]) -> list[BaseException]:
    """Runs functions at the same time, each in a thread with a connection of its own; returns their errors."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(work))

    def run(function: Callable[[], object]) -> None:
        try:
            start.wait(10)
            function()
        except Exception as error:  # noqa: BLE001 (the test looks at it)
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[function]) for function in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return errors


def test_days_and_years_have_their_names_and_bounds() -> None:
    year = candle_table("4h")

    assert (TABLE.name, year.name) == ("market_candle_1m", "market_candle_4h")
    assert TABLE.partition(DAY) == "market_candle_1m_20310314"
    assert TABLE.bounds(DAY) == (datetime(2031, 3, 14, tzinfo=UTC), datetime(2031, 3, 15, tzinfo=UTC))
    assert year.partition(DAY) == "market_candle_4h_2031"
    assert year.bounds(DAY) == (datetime(2031, 1, 1, tzinfo=UTC), datetime(2032, 1, 1, tzinfo=UTC))


def test_two_writers_make_the_same_partition_at_once() -> None:
    for day in range(5):
        at = DAY + timedelta(days=day)
        partitions._known.clear()

        errors = at_once(*[lambda at=at: ensure_partition(TABLE, at)] * 4)

        assert errors == []
        assert list_partitions(TABLE).count(TABLE.partition(at)) == 1


def test_a_partition_that_was_rolled_back_is_not_taken_for_made() -> None:
    with transaction.atomic():
        ensure_partition(TABLE, DAY)
        transaction.set_rollback(True)

    ensure_partition(TABLE, DAY)

    assert TABLE.partition(DAY) in list_partitions(TABLE)


def test_two_writers_of_the_same_candles_write_each_once() -> None:
    rows = rows_of(500, start=DAY)

    errors = at_once(*[lambda: write_candles([Block(7, "1m", rows)], received_at=DAY)] * 3)

    assert errors == []
    assert len(load_candles(7, "1m", limit=10_000)) == 500


def test_old_partitions_are_dropped_beside_readers() -> None:
    for day in range(6):
        write_candles([Block(7, "1m", rows_of(60, start=DAY + timedelta(days=day)))], received_at=DAY)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            assert len(load_candles(7, "1m", limit=60)) == 60

    def drop() -> None:
        try:
            drop_partitions(TABLE, before=DAY + timedelta(days=4))
        finally:
            stop.set()

    errors = at_once(read, read, drop)

    assert errors == []
    assert list_partitions(TABLE) == ["market_candle_1m_20310318", "market_candle_1m_20310319"]
    assert len(load_candles(7, "1m")) == 120


def test_what_an_interrupted_prune_left_behind_is_dropped_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(3):
        write_candles([Block(7, "1m", rows_of(60, start=DAY + timedelta(days=day)))], received_at=DAY)
    detached, detaching, kept = list_partitions(TABLE)
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {TABLE.name} DETACH PARTITION {detached}")
    monkeypatch.setattr(partitions, "PATIENCE_S", 1)
    with other_connection() as backup:
        backup.cursor().execute("SELECT count(*) FROM market_candle_1m")  # an older transaction: detaching waits for it
        assert drop_partitions(TABLE, before=DAY + timedelta(days=2)) == [detached]
        assert detaching not in list_partitions(TABLE)

    assert drop_partitions(TABLE, before=DAY + timedelta(days=2)) == [detaching]
    assert list_partitions(TABLE) == [kept]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A connection with time-outs, as a process of the product has."""
    connection.close()
    options = connection.settings_dict["OPTIONS"]
    monkeypatch.setitem(options, "options", "-c lock_timeout=50ms -c statement_timeout=8s")
    yield
    connection.close()


def time_outs() -> tuple[str, str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")
        lock, statement = cursor.fetchone()
        return lock, statement


def test_making_and_dropping_leave_the_time_outs_of_the_process_as_they_were(impatient: None) -> None:
    with transaction.atomic():
        ensure_partition(TABLE, DAY)
        assert time_outs() == ("50ms", "8s")  # for what else the transaction does
    drop_partitions(TABLE, before=DAY + timedelta(days=1))

    assert list_partitions(TABLE) == []
    assert time_outs() == ("50ms", "8s")


def test_dropping_waits_for_an_older_transaction_longer_than_its_process_waits_for_a_lock(impatient: None) -> None:
    write_candles([Block(7, "1m", rows_of(60, start=DAY))], received_at=DAY)
    with other_connection() as backup:
        backup.cursor().execute("SELECT count(*) FROM market_candle_1m")
        ending = threading.Timer(0.5, backup.connection.rollback)
        ending.start()
        dropped = drop_partitions(TABLE, before=DAY + timedelta(days=1))
        ending.join()

    assert dropped == [TABLE.partition(DAY)]


def test_pruning_keeps_what_the_retention_promises() -> None:
    for at in (DAY, DAY + timedelta(days=1)):
        write_candles([Block(7, "1m", rows_of(1, start=at))], received_at=DAY)
    write_candles([Block(7, "4h", rows_of(1, timeframe="4h", start=DAY.replace(hour=12, minute=0)))], received_at=DAY)

    counts = prune_candles(now=datetime(2031, 3, 15, tzinfo=UTC) + timedelta(days=90))

    assert counts["1m"] == 1
    assert counts["4h"] == 0
    assert list_partitions(TABLE) == ["market_candle_1m_20310315"]
    assert prune_candles(now=datetime(2031, 3, 15, tzinfo=UTC) + timedelta(days=90))["1m"] == 0
