"""`bench sweep`: whole central sweeps through the real processes, beside what the bare computation takes on one core.

A sweep is timed from sending `central_sweep` to hearing the last ticker's published batch: by then every row is
committed. The candles are random walks, put straight into the candle store; the heartbeat and the exchange do not run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
from redis import Redis
from redis.client import PubSub

from engine import registry
from engine.candles import TIMEFRAMES, Float64s
from live.publish import CHANNEL
from workers.bench.report import Bar, Cell, Report, Table, this_machine
from workers.bench.yardsticks import talib_calls
from workers.product import Product, running_product

HELP = "Whole sweeps: every algorithm on every ticker, rows written and published, beside the bare computation."

CANDLES = 500
SPARE = 64  # candles beyond those: sweeps until a walk starts again
TIMEFRAME = "2m"
WORKER_MEMORY_MB = 120
Say = Callable[[str], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tickers", type=_counts, default=[500, 2000, 8000], help="default: 500,2000,8000")
    parser.add_argument("--per-task", type=_counts, default=[1, 50], help="tickers in one Celery task; default: 1,50")
    parser.add_argument("--sweeps", type=int, default=7, help="measured sweeps per row, after two to warm up")
    parser.add_argument(
        "--memory-sweeps", type=int, default=1000, help="sweeps of 100 tickers to watch a worker's memory; 0: none"
    )


def _counts(text: str) -> list[int]:
    counts = [int(part) for part in text.split(",")]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError("give whole numbers above zero, such as 500,2000")
    return counts


@dataclass(frozen=True, slots=True)
class Measured:
    """One row: `tickers` at `per_task` to a task."""

    tickers: int
    per_task: int
    wall: list[float]  # seconds, one per sweep
    cpu: dict[str, float]  # part of the product -> CPU seconds per sweep

    @property
    def median(self) -> float:
        return statistics.median(self.wall)


@dataclass(slots=True)
class Yardsticks:
    """Seconds per ticker on one core, by whose calls; one figure per round, taken between the rows."""

    talib: list[float] = field(default_factory=list)
    pandas: list[float] = field(default_factory=list)

    def measure(self, market: Sequence[Float64s]) -> None:
        columns = [np.ascontiguousarray(rows.T) for rows in market[:300]]
        self.talib.append(_seconds_per_item(lambda one: talib_calls.judge(*one[2:6]), columns))
        if importlib.util.find_spec("pandas") is not None:  # comes with `make setup-tests`
            self.pandas.append(_pandas_seconds(market[:20]))


def _pandas_seconds(market: Sequence[Float64s]) -> float:
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file, np.stack(market))
        file.flush()
        command = [sys.executable, str(Path(talib_calls.__file__).with_name("pandas_loop.py")), file.name]
        return float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)


def _seconds_per_item(call: Callable[[Any], object], items: Sequence[Any]) -> float:
    """The best of five rounds: what else the machine does can only make it longer."""
    rounds = []
    for _ in range(5):
        started = time.perf_counter()
        for item in items:
            call(item)
        rounds.append(time.perf_counter() - started)
    return min(rounds) / len(items)


def run(options: argparse.Namespace, say: Say) -> Report:
    market = random_walks(max(*options.tickers, 100))
    yardsticks = Yardsticks()
    measured: list[Measured] = []
    for per_task in options.per_task:
        with _product(per_task) as product:
            bench = Bench(product, market, say)
            for tickers in options.tickers:
                yardsticks.measure(market)
                bench.follow(tickers)
                measured.append(bench.measure(tickers, per_task, options.sweeps))
                yardsticks.measure(market)
    memory = None
    if options.memory_sweeps:
        with _product(options.per_task[0]) as product:
            memory = Bench(product, market, say).watch_memory(options.memory_sweeps)
    return _report(measured, yardsticks, memory)


def random_walks(count: int) -> list[Float64s]:
    """`count` tickers' candles: (CANDLES + SPARE, 6) arrays of open_time (counted from 0), open, high, low, close, volume."""
    rng = np.random.default_rng(20261121)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, (count, CANDLES + SPARE)), axis=1))
    before = np.concatenate([close[:, :1], close[:, :-1]], axis=1)
    high = np.maximum(before, close) * (1 + np.abs(rng.normal(0, 0.0005, close.shape)))
    low = np.minimum(before, close) * (1 - np.abs(rng.normal(0, 0.0005, close.shape)))
    volume = rng.uniform(1, 100, close.shape)
    opened = np.broadcast_to(np.arange(CANDLES + SPARE) * float(TIMEFRAMES[TIMEFRAME]), close.shape)
    return list(np.stack([opened, before, high, low, close, volume], axis=2))


@contextlib.contextmanager
def _product(per_task: int) -> Iterator[Product]:
    """The processes of `make run` but exchange, heartbeat and beat, whose parts the bench plays."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_product(Path(folder), SWEEP_TICKERS_PER_TASK=str(per_task)) as product,
    ):
        product.manage("bootstrap")
        product.sweep_by_hand()
        product.start("worker-sweep", "worker-default", "flower")
        product.start_web("web", int(product.values["WEB_PORT"]))
        yield product


class Bench:
    """Plays heartbeat and beat: new candles, the watermark, a slot; and listens for the sweep's end."""

    def __init__(self, product: Product, market: Sequence[Float64s], say: Say) -> None:
        self._product = product
        self._market = market
        self._say = say
        self._step = timedelta(milliseconds=TIMEFRAMES[TIMEFRAME])
        self._slot = datetime.fromtimestamp(time.time() // 120 * 120, UTC) - timedelta(days=1)
        self._sweeps = 0
        self._ids: list[int] = []

    def follow(self, count: int) -> None:
        """Makes the universe `count` tickers large, with their candles."""
        values = [(f"BENCH{number:05}USDT", f"BENCH{number:05}") for number in range(count)]
        self._product.query(
            "INSERT INTO market_ticker (exchange, symbol, base_asset, quote_asset, tick_size, step_size, min_notional,"
            " status, is_followed, quote_volume_24h, discovered_at)"
            " SELECT 'simulated', symbol, base, 'USDT', 0.01, 0.01, 1, 'trading', true, 0, now()"
            " FROM unnest(%s, %s) AS given (symbol, base) ON CONFLICT DO NOTHING",
            [symbol for symbol, _ in values],
            [base for _, base in values],
        )
        self._product.query("UPDATE market_ticker SET is_followed = symbol = ANY(%s)", [symbol for symbol, _ in values])
        found = self._product.query("SELECT id FROM market_ticker WHERE is_followed ORDER BY symbol")
        self._ids = [pk for (pk,) in found]

    def measure(self, tickers: int, per_task: int, sweeps: int) -> Measured:
        self._say(f"{tickers} tickers, {per_task} a task: warming up")
        for _ in range(2):
            self._sweep()
        before = self._cpu()
        wall = []
        for number in range(sweeps):
            wall.append(self._sweep())
            self._say(f"{tickers} tickers, {per_task} a task: sweep {number + 1} of {sweeps} {wall[-1]:.3f} s")
        cpu = {part: (seconds - before[part]) / sweeps for part, seconds in self._cpu().items()}
        return Measured(tickers, per_task, wall, cpu)

    def watch_memory(self, sweeps: int) -> Memory:
        """RSS of the sweep worker's largest process over many sweeps of 100 tickers."""
        self.follow(100)
        samples = []
        for number in range(sweeps):
            self._sweep()
            if number % max(1, sweeps // 20) == 0 or number == sweeps - 1:
                samples.append(max(one.memory_info().rss for one in self._product.processes("worker-sweep")) / 1e6)
                self._say(f"memory: sweep {number + 1} of {sweeps}, {samples[-1]:.0f} MB")
        return Memory(sweeps, samples)

    def _sweep(self) -> float:
        """One sweep at the next slot; seconds from its message to its last published batch."""
        self._slot += self._step
        self._close_candles()
        with Ear(self._product.values["LIVE_URL"]) as ear:
            started = time.perf_counter()
            self._product.send("central_sweep", slot=self._slot.isoformat())
            ear.wait_for(len(self._ids) * len(registry.all_algorithms()))
            took = time.perf_counter() - started
        self._product.wait_for("the sweep's close", self._is_closed)
        return took

    def _is_closed(self) -> bool:
        """Asked for until it is: the first sweep of a ticker writes the verdicts of its last ten candles."""
        self._product.send("close_sweeps")
        return bool(
            self._product.query("SELECT 1 FROM signals_sweep WHERE slot = %s AND status = 'closed'", self._slot)
        )

    def _close_candles(self) -> None:
        """The next candle of every ticker, which closes at the slot; and the watermark that says so."""
        first = self._sweeps % SPARE
        self._sweeps += 1
        last_open = self._slot.timestamp() * 1000 - TIMEFRAMES[TIMEFRAME]
        live = self._product.live
        for start in range(0, len(self._ids), 500):
            pipe = live.pipeline(transaction=False)
            for number, pk in enumerate(self._ids[start : start + 500], start=start):
                rows = self._market[number][first : first + CANDLES].copy()
                rows[:, 0] += last_open - rows[-1, 0]
                pipe.set(f"candles:{pk}:{TIMEFRAME}", rows.tobytes())
            pipe.execute()
        marks = {TIMEFRAME: int(self._slot.timestamp() * 1000)}
        live.set("market:watermark:simulated", json.dumps({"watermarks": marks, "late": []}))

    def _cpu(self) -> dict[str, float]:
        """CPU seconds so far, by part of the product."""
        return {part: sum(map(_cpu_seconds, processes)) for part, processes in self._parts().items()}

    def _parts(self) -> dict[str, list[psutil.Process]]:
        values = self._product.values
        stores = {"postgres": "DATABASE_URL", "broker": "BROKER_URL", "live": "LIVE_URL"}
        parts = {name: self._product.processes(name) for name in ("worker-sweep", "worker-default", "flower", "web")}
        for name, url in stores.items():
            parts[name] = listeners(urlsplit(values[url]).port or 0)
        return parts


def listeners(port: int) -> list[psutil.Process]:
    """The process that listens on a port of 127.0.0.1, and its children."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
            server = psutil.Process(connection.pid)
            return [server, *server.children(recursive=True)]
    return []


def _cpu_seconds(process: psutil.Process) -> float:
    """Its own, and that of children it has waited for (Postgres makes one per connection)."""
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


class Ear:
    """Hears what workers publish, from its start on."""

    def __init__(self, live_url: str) -> None:
        # With protocol 3, redis-py makes a text of every batch for its log: time that the sweep would be charged with.
        self._pubsub: PubSub = Redis.from_url(live_url, protocol=2).pubsub()  # type: ignore[no-untyped-call]
        self._heard = 0

    def __enter__(self) -> Ear:
        self._pubsub.subscribe(CHANNEL)
        self._pubsub.get_message(timeout=5)
        return self

    def __exit__(self, *exception: object) -> None:
        self._pubsub.close()

    def wait_for(self, frames: int, patience: float = 120.0) -> None:
        """Until so many verdicts were heard. Raises SweepIncomplete."""
        ends_at = time.monotonic() + patience
        while self._heard < frames:
            message = self._pubsub.get_message(timeout=1)
            if message is not None and message["type"] == "message":
                self._heard += message["data"].count(b'"type":"signal"')
            if time.monotonic() > ends_at:
                raise SweepIncomplete(f"{self._heard} of {frames} verdicts were published in {patience:.0f} s")


class SweepIncomplete(Exception):
    """Not every verdict was published. Look at the worker's log."""


@dataclass(frozen=True, slots=True)
class Memory:
    """RSS (MB) of the largest process of the sweep worker, sampled evenly over `sweeps` sweeps."""

    sweeps: int
    samples: list[float]

    @property
    def growth(self) -> float:
        """MB between the second quarter's mean and the last quarter's: the first quarter fills caches."""
        quarter = max(1, len(self.samples) // 4)
        return statistics.mean(self.samples[-quarter:]) - statistics.mean(self.samples[quarter : 2 * quarter])


def _report(measured: Sequence[Measured], yardsticks: Yardsticks, memory: Memory | None) -> Report:
    talib = statistics.median(yardsticks.talib)
    rows: list[list[Cell]] = [
        [
            one.tickers,
            one.per_task,
            round(one.median * 1000),
            round(min(one.wall) * 1000),
            round(max(one.wall) * 1000),
            round(one.median / one.tickers * 1e6),
            round(one.median / (talib * one.tickers), 2),
        ]
        for one in measured
    ]
    columns = ["tickers", "a task", "median ms", "best ms", "worst ms", "us/ticker", "x yardstick"]
    tables = [Table("Sweeps: 12 algorithms, rows committed and published", columns, rows)]
    parts = list(measured[0].cpu)
    tables.append(
        Table(
            "CPU milliseconds per sweep, by process",
            ["tickers", "a task", *parts],
            [[one.tickers, one.per_task, *(round(one.cpu[part] * 1000) for part in parts)] for one in measured],
        )
    )
    tables.append(_yardstick_table(yardsticks, talib))
    bars = _bars(measured, talib)
    if memory is not None:
        tables.append(
            Table(
                f"Memory of a worker process over {memory.sweeps} sweeps of 100 tickers",
                ["first MB", "middle MB", "last MB", "largest MB"],
                [
                    [
                        *(round(memory.samples[at]) for at in (0, len(memory.samples) // 2, -1)),
                        round(max(memory.samples)),
                    ]
                ],
            )
        )
        bars.append(Bar("memory of a worker", max(memory.samples), WORKER_MEMORY_MB, is_at_most=True, unit="MB"))
        bars.append(Bar("its growth after the first quarter", memory.growth, 2.0, is_at_most=True, unit="MB"))
    return Report("sweep", this_machine(), tables=tables, bars=bars)


def _yardstick_table(yardsticks: Yardsticks, talib: float) -> Table:
    rows: list[list[Cell]] = [["12 sets of plain TA-Lib calls", round(talib * 1e6), 1.0]]
    if yardsticks.pandas:
        pandas = statistics.median(yardsticks.pandas)
        rows.append(["a pandas loop in the style of common bots", round(pandas * 1e6), round(pandas / talib, 1)])
    return Table("Yardsticks: one core, no database, nothing written", ["what", "us/ticker", "x yardstick"], rows)


def _bars(measured: Sequence[Measured], talib: float) -> list[Bar]:
    """The bars of DESIGN 10, for the rows that were run."""
    by = {(one.tickers, one.per_task): one for one in measured}
    bars = []
    for per_task, limit in ((50, 2.5), (1, 20.0)):
        if one := by.get((2000, per_task)):
            figure = one.median / (talib * one.tickers)
            bars.append(Bar(f"2,000 tickers, {per_task} a task", figure, limit, is_at_most=True, unit="x yardstick"))
    for per_task in sorted({one.per_task for one in measured}):
        large, usual = by.get((8000, per_task)), by.get((2000, per_task))
        if large and usual:
            figure = (large.median / large.tickers) / (usual.median / usual.tickers)
            what = f"a ticker at 8,000 beside one at 2,000, {per_task} a task"
            bars.append(Bar(what, figure, 1.15, is_at_most=True, unit="x"))
    return bars
