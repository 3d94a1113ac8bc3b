"""The check of a run of chaos finds what must not be: a database that the product filled is sound, a broken one is not."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from engine import registry
from market.models import Ticker
from signals.models import Algorithm, SignalResult, Sweep
from signals.services.bots import get_or_create_master_bot
from signals.services.evaluation import plan_of
from signals.services.housekeeping import bootstrap
from signals.services.sweeps import check_sweep, open_central_sweep
from signals.tasks import evaluate_tickers
from signals.tests.conftest import NOON, give_candles, make_ticker, minutes_of
from workers.chaos.invariants import Kept, violations

pytestmark = pytest.mark.django_db

SLOTS = [NOON + timedelta(minutes=number) for number in range(4)]


def query(statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def _four_sweeps() -> None:
    """Two tickers, three algorithms on 1m candles, swept at noon and at the next three minutes."""
    plan_of.cache_clear()
    bootstrap(now=NOON)
    kept = [algorithm.id for algorithm in registry.all_algorithms()[:3]]
    Algorithm.objects.exclude(id__in=kept).update(is_enabled=False)
    Algorithm.objects.update(timeframe="1m")
    get_or_create_master_bot(now=NOON)
    for number, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        give_candles(make_ticker(symbol), minutes_of(number, count=800))
    for slot in SLOTS:
        sweep = open_central_sweep(slot=slot, note="", now=slot)
        assert sweep is not None
        evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)
        check_sweep(sweep=sweep, now=slot)


def found() -> dict[str, int]:
    return {one.name: one.count for one in violations(query, since=SLOTS[0], until=SLOTS[-1], period=60)}


def again(row: Any) -> None:
    """The same row once more, which the database refuses as long as it may."""
    row.pk = None
    row.save(force_insert=True)


def without_unique(table: str) -> None:
    [(name,)] = query(
        "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND conname LIKE %s", table, "%identity"
    )
    query(f"ALTER TABLE {table} DROP CONSTRAINT {name}")


@pytest.mark.usefixtures("_four_sweeps")
def test_what_the_product_wrote_is_sound() -> None:
    assert found() == {}
    assert Sweep.objects.filter(status="closed").count() == len(SLOTS)
    assert query("SELECT 1 FROM signals_call LIMIT 1")
    assert SignalResult.objects.count() == 2 * 3 * (10 + len(SLOTS) - 1)


NEWEST = "(SELECT max(candle_closed_at) FROM signals_signalresult)"
BROKEN = [
    ("slot never run", "DELETE FROM signals_sweep WHERE slot = %s"),
    ("slot missed", "UPDATE signals_sweep SET status = 'missed' WHERE slot = %s"),
    ("slot not closed", "UPDATE signals_sweep SET status = 'open' WHERE slot = %s"),
    ("receipt absent", "DELETE FROM signals_tickerrun WHERE slot = %s"),
    ("receipt says missing", "UPDATE signals_tickerrun SET status = 'missing' WHERE slot = %s"),
    ("receipt of a ticker not covered", "UPDATE signals_tickerrun SET ticker_id = 0 - ticker_id WHERE slot = %s"),
    ("sums of a sweep wrong", "UPDATE signals_sweep SET results = results + 1 WHERE slot = %s"),
    ("verdict absent", "DELETE FROM signals_signalresult WHERE candle_closed_at = %s"),
    ("verdict without its candle", "DELETE FROM market_candle WHERE open_time = %s::timestamptz - interval '1 minute'"),
    ("candle absent", "DELETE FROM market_candle WHERE open_time = %s::timestamptz - interval '1 minute'"),
    ("newest verdict wrong", "UPDATE signals_latestsignal SET price = price + 1 WHERE %s IS NOT NULL"),
    ("newest verdict wrong", f"UPDATE signals_signalresult SET value = -1 WHERE candle_closed_at = {NEWEST} AND %s > ''"),  # noqa: S608
    ("newest verdict wrong", "DELETE FROM signals_latestsignal WHERE %s IS NOT NULL"),
]  # fmt: skip


@pytest.mark.usefixtures("_four_sweeps")
@pytest.mark.parametrize(("name", "statement"), BROKEN)
def test_what_must_not_be_is_found_by_its_name(name: str, statement: str) -> None:
    query(statement, str(SLOTS[1]))

    assert found()[name] >= 1


@pytest.mark.usefixtures("_four_sweeps")
def test_a_slot_that_was_run_twice_is_found() -> None:
    without_unique("signals_sweep")
    again(Sweep.objects.get(slot=SLOTS[1]))

    assert found()["slot run twice"] == 1


@pytest.mark.usefixtures("_four_sweeps")
@pytest.mark.parametrize(
    ("name", "table"), [("receipt twice", "signals_tickerrun"), ("verdict twice", "signals_signalresult")]
)
def test_a_row_that_is_there_twice_is_found(name: str, table: str) -> None:
    without_unique(table)
    [(columns,)] = query(
        "SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns "
        "WHERE table_name = %s AND column_name <> 'id'",
        table,
    )
    query(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table} WHERE slot = %s LIMIT 1", SLOTS[1])  # noqa: S608

    assert found()[name] == 1


@pytest.mark.usefixtures("_four_sweeps")
def test_a_turn_without_its_call_and_a_call_without_its_turn_are_found() -> None:
    query("SET CONSTRAINTS ALL IMMEDIATE")  # else the change of the table would have to wait for them
    query("ALTER TABLE signals_call DISABLE TRIGGER USER")
    [(first,)] = query(
        "SELECT id FROM signals_call WHERE candle_closed_at > "
        "(SELECT min(candle_closed_at) FROM signals_signalresult) ORDER BY id LIMIT 1"
    )
    query("UPDATE signals_call SET candle_closed_at = candle_closed_at - interval '1 second' WHERE id = %s", first)

    assert found() == {"call absent": 1, "call without a turn": 1}


@pytest.mark.usefixtures("_four_sweeps")
def test_rows_that_are_gone_or_changed_are_counted() -> None:
    kept = Kept(query)
    assert kept.lost() == {}

    query("DELETE FROM signals_tickerrun WHERE slot = %s", SLOTS[1])
    query("UPDATE signals_sweep SET note = 'changed' WHERE slot = %s", SLOTS[1])

    assert kept.lost() == {"receipts": Ticker.objects.count(), "sweeps": 1}
    assert kept.number > Sweep.objects.count()


@pytest.mark.usefixtures("_four_sweeps")
def test_a_slot_outside_the_time_that_is_asked_for_is_nobodys_fault() -> None:
    query("DELETE FROM signals_sweep WHERE slot = %s", SLOTS[0])

    later: datetime = SLOTS[1]
    assert violations(query, since=later, until=SLOTS[-1], period=60) == []
