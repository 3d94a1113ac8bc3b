"""`bench candles`: candles ready to compute on, from the candle store and from Postgres in three other ways."""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from django.db.models import QuerySet

from engine.candles import STORE_SIZE, Candles
from market.candles import Block, load_newest, write_candles
from market.models import Candle
from market.store import CandleStore
from signals.services.evaluation import last_close
from workers.bench.inside import Inside
from workers.bench.report import Bar, Report, Table
from workers.bench.walk import walk
from workers.product import running_product

HELP = "Candles of many tickers as arrays: from the candle store, beside the same by the ORM."

TIMEFRAME = "2m"
STORE, COPY, VALUES, ORM = (
    "CandleStore.load, from Redis",
    "load_newest, by COPY from Postgres (an empty store)",
    "values_list, a query per ticker",
    "model instances, a query per ticker",
)

Load = Callable[[Sequence[int], int], dict[int, Candles]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tickers", type=int, default=50, help="default: 50")
    parser.add_argument("--candles", type=int, default=500, help=f"of each, at most {STORE_SIZE}; default: 500")
    parser.add_argument("--repeat", type=int, default=15, help="rounds, each way once in each; default: 15")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    with contextlib.ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory()))
        product = closing.enter_context(running_product(folder))
        inside = closing.enter_context(Inside(product.values))
        say(f"{options.tickers} tickers with {options.candles} candles each, {options.repeat} rounds")
        found: dict[str, list[float]] = inside.call(
            "workers.bench.candles:measure", tickers=options.tickers, candles=options.candles, repeat=options.repeat
        )
    medians = {way: statistics.median(seconds) for way, seconds in found.items()}
    table = Table(
        f"{options.candles} candles of {options.tickers} tickers as arrays, median of {options.repeat} rounds",
        ["way", "ms", "us/ticker", "x the store's"],
        [
            [way, seconds * 1000, seconds / options.tickers * 1e6, seconds / medians[STORE]]
            for way, seconds in medians.items()
        ],
    )
    ratio = medians[ORM] / medians[STORE]
    return Report(
        "candles", tables=[table], bars=[Bar("the ORM beside the store", ratio, 100, is_at_most=False, unit="x")]
    )


def measure(*, tickers: int, candles: int, repeat: int) -> dict[str, list[float]]:
    """Seconds of each round, by way. Run inside the product."""
    ids = list(range(1, tickers + 1))  # candles have no foreign-key constraint
    newest = last_close(TIMEFRAME, datetime.now(UTC))
    blocks = [Block(ticker_id, TIMEFRAME, walk(ticker_id, candles, TIMEFRAME, newest)) for ticker_id in ids]
    write_candles(blocks, received_at=datetime.now(UTC))
    CandleStore().replace(blocks)
    ways: dict[str, Load] = {STORE: _store(), COPY: _copy, VALUES: _values, ORM: _orm}
    expected = {block.ticker_id: Candles.from_rows(block.rows, TIMEFRAME).digest() for block in blocks}
    for way, load in ways.items():
        found = {ticker_id: series.digest() for ticker_id, series in load(ids, candles).items()}
        if found != expected:
            raise ValueError(f"{way} gave other candles than were written")
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeat):
        for way, load in ways.items():
            started = time.perf_counter()
            load(ids, candles)
            seconds[way].append(time.perf_counter() - started)
    return seconds


def _store() -> Load:
    store = CandleStore()  # a worker makes one and keeps it
    return lambda ids, count: store.load(ids, TIMEFRAME)


def _copy(ids: Sequence[int], count: int) -> dict[int, Candles]:
    return load_newest(ids, TIMEFRAME, limit=count)


def _values(ids: Sequence[int], count: int) -> dict[int, Candles]:
    loaded = {}
    for ticker_id in ids:
        newest = _newest(ticker_id, count).values_list("open_time", "open", "high", "low", "close", "volume")
        rows = [(opened.timestamp() * 1000, *rest) for opened, *rest in reversed(newest)]
        loaded[ticker_id] = Candles.from_rows(np.array(rows), TIMEFRAME)
    return loaded


def _orm(ids: Sequence[int], count: int) -> dict[int, Candles]:
    loaded = {}
    for ticker_id in ids:
        newest = list(reversed(_newest(ticker_id, count)))
        loaded[ticker_id] = Candles(
            TIMEFRAME,
            np.array([one.open_time.timestamp() * 1000 for one in newest]),
            *(np.array([getattr(one, name) for one in newest]) for name in ("open", "high", "low", "close", "volume")),
        )
    return loaded


def _newest(ticker_id: int, count: int) -> QuerySet[Candle]:
    return Candle.objects.filter(ticker=ticker_id, timeframe=TIMEFRAME).order_by("-open_time")[:count]
