"""What the product asks of its large tables is answered by an index: by the shape of real plans, never by time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

from signals.models import Sweep
from signals.services.housekeeping import bootstrap
from workers.bench import month, plans
from workers.bench.plans import BACKGROUND, GROWING, Plan, explain_all

LAST_DAY = datetime(2033, 5, 12, tzinfo=UTC)
SWEEPS_A_DAY = 48
DAYS = 3


@pytest.fixture(scope="module")
def asked(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> list[Plan]:
    """Every question, asked when three days of rows are there, the last sweeps of them younger than the statistics."""
    with django_db_blocker.unblock(), transaction.atomic():
        bootstrap(now=LAST_DAY)
        month.make_tickers(tickers=150)
        for number in reversed(range(DAYS)):
            day = f"{LAST_DAY - timedelta(days=number):%Y-%m-%d}"
            month.fill_day(day=day, sweeps=SWEEPS_A_DAY, start=0, stop=SWEEPS_A_DAY - (3 if number == 0 else 0))
        month.make_record(at=(LAST_DAY + timedelta(days=1)).isoformat())
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        month.fill_day(day=day, sweeps=SWEEPS_A_DAY, start=SWEEPS_A_DAY - 3, stop=SWEEPS_A_DAY)
        found = explain_all(Sweep.objects.central().latest("slot"), datetime.now(UTC))
        transaction.set_rollback(True)
    return found


def test_every_question_was_asked(asked: list[Plan]) -> None:
    assert len(asked) == 24
    assert all(plan.pages > 0 for plan in asked)
    rows = {plan.question: plan.rows for plan in asked}
    assert rows["relay: a sweep of which nothing was told"] == 150 * 12
    assert rows["relay: a sweep of which all was told"] == 12  # names only, one row for each configuration
    assert rows[f"{BACKGROUND}scoring 6 hours of calls"] > 0


def test_what_every_sweep_asks_reads_no_more_than_it_needs(asked: list[Plan]) -> None:
    every_sweep = [plan for plan in asked if plan.question.startswith(("relay", "task", "closing", "candles"))]

    assert len(every_sweep) == 6
    assert [plan for plan in every_sweep if plan.reads_too_much] == []


def test_what_the_public_record_asks_reads_no_more_than_it_needs(asked: list[Plan]) -> None:
    public = [plan for plan in asked if plan.question.startswith(("record", "ledger"))]

    assert len(public) == 6
    assert [plan for plan in public if plan.reads_too_much] == []


def test_none_of_what_grows_with_time_is_read_from_end_to_end(asked: list[Plan]) -> None:
    # Of three days, a day or a month in the background is so much that a whole table may be the shortest way to it.
    waited_for = [plan for plan in asked if not plan.question.startswith(BACKGROUND)]
    scanned = [(plan.question, name) for plan in waited_for for name in plan.scanned if name.startswith(GROWING)]

    # Partitions of other days are empty: what is left of other tests.
    assert [(asked, name) for asked, name in scanned if not name[-1].isdigit() or f"{LAST_DAY:%Y}" in name] == []


def test_what_concerns_one_sweep_looks_into_no_partition_older_than_a_catch_up(asked: list[Plan]) -> None:
    days = {f"signals_signalresult_{LAST_DAY - timedelta(days=number):%Y%m%d}" for number in range(2)}
    days |= {"signals_tickerrun_20330512", "signals_sweep"}

    found = {
        plan.question: set(plan.tables) for plan in asked if plan.question.startswith(("relay", "replay", "closing"))
    }

    assert len(found) == 5
    assert all(tables <= days for tables in found.values()), found


@pytest.mark.django_db
def test_a_plan_that_reads_a_whole_table_for_a_few_rows_is_told_apart() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE market_candle_of_mine AS SELECT generate_series(1, 20000) AS id")

    plan = plans.explain("mine", ("SELECT id FROM market_candle_of_mine WHERE id = %s", [7]))

    assert plan.reads_too_much
    assert plan.scanned == ("market_candle_of_mine",)
    assert (plan.rows, plan.wasted) == (1, 19_999)
