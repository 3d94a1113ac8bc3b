"""`bench replay`: a day's verdicts computed again and compared, and a month's calls scored and added up to the record."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from django.conf import settings
from django.db import connection

from engine import registry
from engine.candles import CATCH_UP, Candles
from market.candles import Block, write_candles
from market.models import Ticker
from signals.models import Call, CentralSpan, Outcome
from signals.services.documents import build_documents
from signals.services.evaluation import evaluate, load_latest, plan_of
from signals.services.housekeeping import bootstrap
from signals.services.parity import replay_day
from signals.services.results import write_outcomes
from signals.services.scoring import score_calls
from signals.services.sweeps import open_central_sweep
from signals.services.tallies import rebuild_months
from workers.bench.inside import Inside
from workers.bench.report import Report, Table
from workers.bench.walk import walk
from workers.product import running_product

HELP = "A day's replay, and a month's record: every verdict computed again, every call scored and added up."

SLOTS_OF_A_DAY = 720
MOST_SLOTS = SLOTS_OF_A_DAY - CATCH_UP  # the first sweep of a feed also makes up for the candles before it
TOGETHER = 50  # tickers of one write
MONTH = timedelta(days=30)
MONTH_TICKERS = 20

INSERT_CALLS = """
INSERT INTO signals_call (configuration_id, ticker_id, candle_closed_at, slot, published_at, signal, previous_signal, price,
                          value, candles_digest, algorithm_version)
SELECT (%(configurations)s::bigint[])[1 + n %% %(number)s], (%(tickers)s::bigint[])[1 + (n / %(number)s) %% %(many)s],
       at, at, at + interval '1.5 s', CASE n %% 3 WHEN 0 THEN 'SELL' ELSE 'BUY' END, 'DO NOTHING', 1, 1, '\\x00', 1
FROM generate_series(0, %(calls)s - 1) AS n,
     LATERAL (SELECT %(since)s::timestamptz + interval '1 minute' * floor(n * %(minutes)s / %(calls)s)) AS called (at)
ON CONFLICT DO NOTHING
"""


class Replayed(TypedDict):
    """What `replay` found."""

    compared: int
    differing: int
    seconds: float
    sweeping: float  # seconds in which the same verdicts were computed and written


class Recorded(TypedDict):
    """What `record` found; seconds."""

    calls: int
    outcomes: int
    scoring: float
    adding_up: float
    pages: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tickers", type=int, default=2000, help="default: 2000")
    parser.add_argument(
        "--slots",
        type=int,
        choices=range(1, MOST_SLOTS + 1),
        metavar="N",
        default=60,
        help=f"sweeps of that day, at most {MOST_SLOTS}; default: 60",
    )
    parser.add_argument("--calls", type=int, default=100_000, help="of a month, for the record; default: 100000")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    with contextlib.ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory()))
        product = closing.enter_context(running_product(folder))
        inside = closing.enter_context(Inside(product.values))
        say(f"{options.slots} sweeps of {options.tickers} tickers are computed and written, then replayed")
        replayed: Replayed = inside.call("workers.bench.replay:replay", tickers=options.tickers, slots=options.slots)
        say(f"{options.calls} calls of a month are scored and added up")
        recorded: Recorded = inside.call("workers.bench.replay:record", calls=options.calls)
    verdicts_of_a_day = options.tickers * len(registry.all_algorithms()) * SLOTS_OF_A_DAY
    whole_day = replayed["seconds"] * verdicts_of_a_day / replayed["compared"]
    tables = [
        Table(
            f"replay of {options.slots} sweeps of {options.tickers} tickers, one process",
            ["verdicts", "differing", "seconds", "us each", "x computing and writing them", "a whole day, minutes"],
            [
                [
                    replayed["compared"], replayed["differing"], replayed["seconds"],
                    replayed["seconds"] / replayed["compared"] * 1e6, replayed["seconds"] / replayed["sweeping"],
                    whole_day / 60,
                ]
            ],
        ),
        Table(
            f"the record of a month of {recorded['calls']} calls, one process",
            ["outcomes", "scoring s", "adding up s", "all 45 pages s"],
            [[recorded["outcomes"], recorded["scoring"], recorded["adding_up"], recorded["pages"]]],
        ),
    ]  # fmt: skip
    return Report("replay", tables=tables, bars=[])


def replay(*, tickers: int, slots: int) -> Replayed:
    """Sweeps as the tasks do them, then the replay of their day. Run inside the product."""
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    first = day + CATCH_UP * timedelta(minutes=2)
    bootstrap(now=day)
    ids = [ticker.pk for ticker in _make_tickers("DAY", tickers, day)]
    lookback = max(one.lookback(one.parameters_from({})) for one in registry.all_algorithms())
    series: dict[int, Candles] = {}
    last = first + (slots - 1) * timedelta(minutes=2)
    for part in _parts(ids):
        blocks = [Block(one, "2m", walk(one, lookback + slots + CATCH_UP, "2m", last)) for one in part]
        write_candles(blocks, received_at=day)
        series |= {block.ticker_id: Candles.from_rows(block.rows, "2m") for block in blocks}
    started = time.perf_counter()
    for number in range(slots):
        _sweep(first + number * timedelta(minutes=2), series)
    sweeping = time.perf_counter() - started
    found = replay_day(day=day.date())
    return Replayed(compared=found.compared, differing=found.differing, seconds=found.seconds, sweeping=sweeping)


def _sweep(slot: datetime, series: dict[int, Candles]) -> None:
    sweep = open_central_sweep(slot=slot, note="", now=slot)
    assert sweep is not None
    plan = plan_of(sweep.pk)
    for part in _parts(list(series)):
        latest = load_latest(configuration_ids=sweep.configuration_ids, ticker_ids=part)
        outcomes = evaluate(plan=plan, ticker_ids=part, candles={"2m": series}, latest=latest)
        write_outcomes(plan=plan, outcomes=outcomes, now=slot)


def record(*, calls: int) -> Recorded:
    """A month of calls at even distances, scored and added up. Run inside the product."""
    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    since = until - MONTH
    tickers = [ticker.pk for ticker in _make_tickers("MONTH", MONTH_TICKERS, since)]
    for ticker in tickers:
        minutes = walk(ticker, int(MONTH.total_seconds() // 60), "1m", until)
        write_candles([Block(ticker, "1m", minutes)], received_at=since)
    configurations = list(CentralSpan.objects.values_list("configuration_id", flat=True))
    CentralSpan.objects.update(since=since)
    values: dict[str, Any] = {
        "configurations": configurations, "number": len(configurations), "tickers": tickers, "many": len(tickers),
        "calls": calls, "since": since, "minutes": MONTH.total_seconds() / 60,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(INSERT_CALLS, values)
    seconds = [time.perf_counter()]
    score_calls(market_now=until, now=until, since=since)
    seconds.append(time.perf_counter())
    rebuild_months(at=until, everything=True)
    seconds.append(time.perf_counter())
    build_documents(at=until)
    seconds.append(time.perf_counter())
    scoring, adding_up, pages = np.diff(seconds).tolist()
    return Recorded(
        calls=Call.objects.filter(ticker__in=tickers).count(),
        outcomes=Outcome.objects.count(),
        scoring=scoring,
        adding_up=adding_up,
        pages=pages,
    )


def _make_tickers(name: str, count: int, at: datetime) -> list[Ticker]:
    return Ticker.objects.bulk_create(
        Ticker(
            exchange=settings.EXCHANGE, symbol=f"{name}{number}USDT", base_asset=f"{name}{number}", quote_asset="USDT",
            tick_size="0.01", step_size="0.01", min_notional="5", is_followed=True, discovered_at=at,
        )
        for number in range(count)
    )  # fmt: skip


def _parts(ids: list[int]) -> list[list[int]]:
    return [ids[start : start + TOGETHER] for start in range(0, len(ids), TOGETHER)]
