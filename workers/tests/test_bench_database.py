"""`bench database` at a size for tests: every part runs, nothing is lost, the report says what it promises."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from signals.models import SignalResult, Sweep
from signals.services.housekeeping import bootstrap
from workers.bench import month
from workers.bench.database import Size, _bars, _table_of_a_month, add_arguments, percentile
from workers.bench.plans import BACKGROUND, GROWING
from workers.wheels import CHECKOUT


@pytest.mark.processes
def test_it_fills_asks_prunes_and_writes_beside_partitions_without_losing_a_row() -> None:
    sizes = ["--tickers", "40", "--days", "3", "--sweeps-per-day", "12", "--thin", "4", "--seconds", "1"]
    command = [sys.executable, "manage.py", "bench", "database", *sizes, "--json"]

    answer = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=240, check=False)

    assert answer.returncode in (0, 1), answer.stderr
    report = json.loads(answer.stdout)
    tables = {
        table["title"].split(":")[0] + str(number): table["rows"] for number, table in enumerate(report["tables"])
    }
    measured = {row[0]: row[1] for row in tables["Measured0"]}
    sweeps = 12 + 3 + 12
    assert measured["signals_tickerrun"] == sweeps * 40
    assert measured["signals_signalresult"] == 12 * measured["signals_tickerrun"]
    assert measured["signals_sweep"] == sweeps
    assert measured["signals_outcome"] == 3 * measured["signals_call"]
    assert measured["signals_recordcell"] > 0
    dropped = {row[0]: row[1:] for row in tables["Measured3"]}
    parts = ["verdicts", "receipts", "candles 1m", "candles 2m", "the rest of signals.tasks.prune"]
    assert list(dropped) == [*parts, "together"]
    assert dropped["together"] == pytest.approx([sum(dropped[part][number] for part in parts) for number in range(2)])
    bars = {bar["what"]: bar for bar in report["bars"]}
    assert bars["errors of writers"]["holds"]
    assert bars["rows written and not there, or there and not written"]["holds"]
    writing = {row[0]: row[1] for row in tables["Measured4"]}
    assert writing["partition made"] == writing["partition dropped"] > 0
    assert writing["write, beside partition work"] > 0


def test_a_month_is_reckoned_from_the_bytes_of_one_sweep() -> None:
    class Options:
        tickers, sweeps_per_day = 1000, 100

    sizes = [Size("signals_tickerrun", 10_000, 800_000, 100_000, 100_000), Size("signals_latestsignal", 9, 1, 1, 1)]

    table = _table_of_a_month(sizes, 10, Options())  # type: ignore[arg-type]

    # 100 kB a sweep of 1,000 tickers, 3,000 sweeps: 0.3 GB; of 100 tickers a tenth of it. What does not grow is left out.
    assert [row[0] for row in table.rows] == ["signals_tickerrun", "together"]
    assert table.rows[0][1:] == pytest.approx((0.03, 0.6, 3.0))


def test_a_lost_row_an_error_a_slow_prune_and_a_whole_table_each_miss_their_bar() -> None:
    times = {"alone": [1.0, 2.0], "beside": [1.0, 2.0]}
    good = {"times": times, "written": 5, "there": 5, "errors": []}

    def missed(
        beside: dict[str, object] = good, scanned: str = "market_ticker", seconds: float = 0.1, question: str = "page"
    ) -> list[str]:
        plans = [{"question": question, "scanned": [scanned]}]
        return [bar.what for bar in _bars(plans, {"a": seconds}, beside) if not bar.holds]

    assert missed() == []
    assert missed({**good, "there": 4}) == missed({**good, "there": 6}) != []
    assert missed({**good, "errors": ["x"]}) == ["errors of writers"]
    assert [len(missed(scanned=table)) for table in GROWING] == [1] * len(GROWING)
    assert len(missed(seconds=1.1)) == 1
    assert missed(scanned="signals_call", question=f"{BACKGROUND}a month of calls") == []
    assert len(missed({**good, "times": {**times, "beside": [5.0, 9.0]}})) == 1


@pytest.mark.django_db
def test_what_is_pruned_until_a_day_is_gone_with_its_sweeps_and_the_next_day_stays() -> None:
    next_day = datetime(2034, 5, 12, tzinfo=UTC)
    bootstrap(now=next_day)
    month.make_tickers(tickers=2)
    for day in ("2034-05-11", "2034-05-12"):
        month.fill_day(day=day, sweeps=2, start=0, stop=2)

    month.prune_until(day="2034-05-11")

    slots = [next_day, next_day.replace(hour=12)]
    assert list(Sweep.objects.order_by("slot").values_list("slot", flat=True)) == slots
    assert sorted(set(SignalResult.objects.values_list("slot", flat=True))) == slots


@pytest.mark.parametrize("given", [("--days", "1"), ("--sweeps-per-day", "5")])
def test_too_few_days_or_sweeps_are_refused_before_anything_starts(
    given: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)

    with pytest.raises(SystemExit):
        parser.parse_args(given)

    assert f"argument {given[0]}: give at least {int(given[1]) + 1}" in capsys.readouterr().err


def test_a_percentile_lies_among_the_values() -> None:
    assert percentile([float(number) for number in range(101)], 50) == 50
    assert percentile([3.0, 3.0], 99) == 3
