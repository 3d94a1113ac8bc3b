"""`bench database`: Postgres under a month of rows.

What the rows take, how long pruning a day takes, how the product's questions are answered, and what writers feel of
partitions that are made and dropped beside them. On a Postgres of its own with the settings of `make run`, but without
fsync: times of writes are to be compared with one another, not with those of a disk.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from workers.bench.inside import Inside
from workers.bench.plans import BACKGROUND, GROWING
from workers.bench.report import Bar, Report, Table, this_machine
from workers.product import running_product

HELP = "Postgres under a month of rows: sizes, pruning, plans, and partitions made and dropped beside writers."

DAYS_A_MONTH = 30
LONGEST_PRUNE_S = 1.0
# How much longer a write may take at the 99th percentile while partitions are made and dropped without a pause.
MOST_FELT = 2.0
LAST_DAY = datetime(2026, 1, 30, tzinfo=UTC)
GROWS_BY_SWEEP = (
    *("signals_signalresult", "signals_tickerrun", "signals_call", "signals_outcome", "signals_sweep"),
    "market_candle",
)
# So many sweeps come after the last VACUUM: what is asked most is what came last, and is in no statistics yet.
SINCE_VACUUM = 5
UNIVERSES = (100, 2_000, 10_000)
MB, GB = 10**6, 10**9
WRITING = {
    "alone": "write, alone",
    "beside": "write, beside partition work",
    "made": "partition made",
    "dropped": "partition dropped",
}
Say = Callable[[str], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tickers", type=int, default=2000)
    parser.add_argument("--days", type=_at_least(2), default=DAYS_A_MONTH, help="at least 2; default: 30")
    parser.add_argument("--sweeps-per-day", type=_at_least(SINCE_VACUUM + 1), default=720)
    parser.add_argument(
        "--thin",
        type=int,
        default=48,
        help="the first and the last day are whole, of the others only every so many-th sweep is written; 1: all are",
    )
    parser.add_argument("--seconds", type=float, default=10, help="of each of six rounds of writing; default: 10")


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"give at least {least}")
        return int(text)

    return number


@dataclass(frozen=True, slots=True)
class Size:
    """One table with all its partitions and everything that belongs to it."""

    name: str
    rows: int
    heap: int
    indexes: int
    other: int  # TOAST, the maps of free space and visibility

    @property
    def total(self) -> int:
        return self.heap + self.indexes + self.other


def run(options: argparse.Namespace, say: Say) -> Report:
    """Fills, measures, prunes; takes about half an hour and 14 GB of disk at its defaults."""
    with tempfile.TemporaryDirectory() as logs, running_product(Path(logs), DEMO="0") as product:
        product.manage("bootstrap")
        with Inside(product.values) as inside:
            days = _days(options.days)
            sweeps = _fill(inside, days, options, say)
            say("asking what pages, sockets and tasks ask")
            plans = inside.call("workers.bench.plans:ask")
            inside.call("workers.bench.month:score_rest", day=days[-1])
            inside.call("workers.bench.month:analyse")
            sizes = [Size(*row) for row in inside.call("workers.bench.month:sizes")]
            say("dropping the oldest day, as cold as one is after a month, then the newest")
            forgotten = inside.call("workers.bench.month:forget_day", day=days[0])
            prune = "workers.bench.month:prune_until"
            cold = inside.call(prune, day=days[0])
            inside.call(prune, day=days[-2])
            warm = inside.call(prune, day=days[-1])
            say("writing, with and without partitions made and dropped beside it")
            writing = "workers.bench.month:write_beside_partitions"
            beside = inside.call(writing, day="2026-03-01", seconds=options.seconds, rounds=3)
    tables = [
        _table_of_sizes(sizes, sweeps),
        _table_of_a_month(sizes, sweeps, options),
        _table_of_plans(plans),
        _table_of_pruning(forgotten, cold, warm),
        _table_of_writing(beside),
    ]
    return Report("database", this_machine(), tables, _bars(plans, cold, beside))


def _days(days: int) -> list[str]:
    """The dates of the month that ends with LAST_DAY, oldest first."""
    return [f"{LAST_DAY - timedelta(days=number):%Y-%m-%d}" for number in reversed(range(days))]


def _fill(inside: Inside, days: Sequence[str], options: argparse.Namespace, say: Say) -> int:
    """Writes the month: the first and the last day whole, the others thin. Gives how many sweeps that are."""
    inside.call("workers.bench.month:make_tickers", tickers=options.tickers)
    written = 0
    for day in days:
        is_whole = day in (days[0], days[-1])
        sweeps = options.sweeps_per_day if is_whole else max(1, options.sweeps_per_day // options.thin)
        last = sweeps - SINCE_VACUUM if day == days[-1] else sweeps
        seconds = inside.call("workers.bench.month:fill_day", day=day, sweeps=sweeps, start=0, stop=last)
        written += sweeps
        say(f"{day}: {sweeps} sweeps of {options.tickers} tickers in {seconds:.0f} s")
    seconds = inside.call("workers.bench.month:make_record", at=f"{days[-1]}T23:59:59+00:00")
    say(f"the record of all that was called, in {seconds:.0f} s")
    inside.call("workers.bench.month:analyse")
    inside.call("workers.bench.month:fill_day", day=days[-1], sweeps=sweeps, start=last, stop=sweeps)
    return written


def _table_of_sizes(sizes: Sequence[Size], sweeps: int) -> Table:
    rows = [
        (one.name, one.rows, one.heap / MB, one.indexes / MB, one.other / MB, one.total / max(1, one.rows))
        for one in sizes
    ]
    columns = ["table", "rows", "heap MB", "indexes MB", "TOAST, maps MB", "bytes a row"]
    return Table(f"Measured: what {sweeps:,} sweeps have written", columns, rows)


def _table_of_a_month(sizes: Sequence[Size], sweeps: int, options: argparse.Namespace) -> Table:
    """What grows with every sweep, from the bytes of one row; the rest stays as large as it is."""
    a_month = options.sweeps_per_day * DAYS_A_MONTH
    rows = []
    for one in sizes:
        if not one.name.startswith(GROWS_BY_SWEEP):
            continue
        # Of every table the bytes of one sweep grow with its tickers: of some the rows, of sweeps the list in the row.
        of_a_ticker = one.total / sweeps / options.tickers
        rows.append((one.name, *(of_a_ticker * tickers * a_month / GB for tickers in UNIVERSES)))
    rows.append(("together", *(sum(row[number] for row in rows) for number in range(1, 1 + len(UNIVERSES)))))
    columns = ["table", *(f"{tickers:,} tickers GB" for tickers in UNIVERSES)]
    return Table(f"Extrapolated from that: a month of {a_month:,} sweeps", columns, rows)


def _table_of_plans(plans: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        (
            plan["question"],
            plan["milliseconds"],
            plan["rows"],
            plan["wasted"],
            plan["pages"],
            len(plan["tables"]),
            ("READS TOO MUCH " if plan["reads_too_much"] else "")
            + (f"whole: {', '.join(plan['scanned'])} " if plan["scanned"] else "")
            + ", ".join(plan["indexes"]),
        )
        for plan in plans
    ]
    columns = ["question (its slowest statement)", "ms", "rows", "read in vain", "pages", "tables", "by"]
    return Table("Measured: how questions are answered, warm", columns, rows)


def _table_of_pruning(size: int, cold: Mapping[str, float], warm: Mapping[str, float]) -> Table:
    rows = [(name, cold[name] * 1000, warm[name] * 1000) for name in cold]
    rows.append(("together", sum(cold.values()) * 1000, sum(warm.values()) * 1000))
    columns = ["what", "not in the kernel's cache, ms", "just written, ms"]
    return Table(f"Measured: dropping a whole day, {size / GB:.2f} GB", columns, rows)


def _table_of_writing(beside: Mapping[str, Any]) -> Table:
    rows = []
    for name in ("alone", "beside", "made", "dropped"):
        times = beside["times"][name]
        rows.append((WRITING[name], len(times), percentile(times, 50), percentile(times, 99), max(times)))
    return Table(
        "Measured: two writers, 50 tickers a transaction", ["what", "times", "p50 ms", "p99 ms", "max ms"], rows
    )


def _bars(plans: Sequence[Mapping[str, Any]], cold: Mapping[str, float], beside: Mapping[str, Any]) -> list[Bar]:
    times = beside["times"]
    felt = percentile(times["beside"], 99) / percentile(times["alone"], 99)
    lost = beside["written"] - beside["there"]
    return [
        Bar("dropping a whole day of every table", sum(cold.values()), LONGEST_PRUNE_S, is_at_most=True, unit="s"),
        Bar("p99 of a write beside partition work, by that without", felt, MOST_FELT, is_at_most=True, unit="x"),
        Bar("errors of writers", len(beside["errors"]), 0, is_at_most=True),
        Bar("rows written and not there, or there and not written", abs(lost), 0, is_at_most=True),
        Bar(
            "questions that somebody waits for and that read from end to end what grows",
            len(_end_to_end(plans)),
            0,
            is_at_most=True,
        ),
    ]


def _end_to_end(plans: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was read so while somebody waits."""
    waited_for = (plan for plan in plans if not plan["question"].startswith(BACKGROUND))
    return [table for plan in waited_for for table in plan["scanned"] if table.startswith(GROWING)]


def percentile(values: Sequence[float], share: int) -> float:
    """The value that `share` percent of them do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]
