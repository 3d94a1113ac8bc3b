"""`bench relay`: from just before COMMIT to a frame at the socket, for thousands of sockets.

The product's own consumer, relay and web server, real log-ins, real rows; beside them, told the same things in turn, an
ordinary consumer on channels_redis' layer, and the bare `websockets` broadcast. The publisher is one process, as one
worker is; the clients are in processes of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np

from workers.bench.crowd import Crowd, Float64s, Seat
from workers.bench.inside import Inside
from workers.bench.report import Bar, Report, Table
from workers.embedded import free_port
from workers.product import Product, running_product
from workers.supervisor import python, web_command

HELP = "From just before COMMIT to the frame at the socket: a sweep at its pace, at once, and one frame to everybody."

PRODUCT, STOCK, RAW = "product", "stock", "broadcast"
_NAMES = {PRODUCT: "Boritrader", STOCK: "stock RedisPubSubChannelLayer", RAW: "raw websockets broadcast"}

BATCHES = 40
PACED_SECONDS = 4.0
FAN_OUT_FRAMES = 20
# After so long without a single frame, what has not come is lost.
QUIET_SECONDS = 8.0
PATIENCE_SECONDS = 120.0

Say = Callable[[str], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clients", type=_counts, default=[100, 1000, 5000], help="sockets; default: 100,1000,5000")
    parser.add_argument("--tickers", type=int, default=2000, help="x 12 configurations are the results; default: 2000")
    parser.add_argument("--repeat", type=int, default=3, help="times each row is measured, in turn; default: 3")
    parser.add_argument("--without-yardsticks", action="store_true", help="the product alone: quicker, no ratios")


def _counts(text: str) -> list[int]:
    counts = [int(part) for part in text.split(",")]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError("give whole numbers above zero, such as 100,1000")
    return counts


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement of one row."""

    latencies: Float64s  # seconds, one per delivery
    deliveries: int  # that should have come
    lost: int
    repeated: int
    out_of_order: int  # came after a frame that was published later
    cpu: float  # seconds of the server's processes

    @property
    def per_core_second(self) -> float:
        """Deliveries. No number where the processes used less than their clock can tell."""
        return len(self.latencies) / self.cpu if self.cpu else float("nan")


@dataclass(frozen=True, slots=True)
class Row:
    """The runs of one scenario with so many clients on one of the three."""

    scenario: str
    clients: int
    who: str
    runs: list[Run]

    def percentile(self, percent: float) -> float:
        """Milliseconds; the median over the runs."""
        return statistics.median(
            float(np.percentile(run.latencies, percent)) * 1000 if len(run.latencies) else float("nan")
            for run in self.runs
        )

    @property
    def per_core_second(self) -> float:
        """Over all runs: the clock of CPU time ticks too slowly for one."""
        cpu = sum(run.cpu for run in self.runs)
        return sum(len(run.latencies) for run in self.runs) / cpu if cpu else float("nan")

    def total(self, what: str) -> int:
        return sum(getattr(run, what) for run in self.runs)


def run(options: argparse.Namespace, say: Say) -> Report:
    _raise_limits()
    rows: list[Row] = []
    openings: list[tuple[int, str, float]] = []
    with contextlib.ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory()))
        product = closing.enter_context(running_product(folder))
        inside = closing.enter_context(Inside(product.values))
        product.manage("bootstrap")
        say(f"{max(options.clients)} users and their sessions")
        people = inside.call("workers.bench.audience:prepare", clients=max(options.clients), tickers=options.tickers)
        stage = Stage(product, inside, folder, options, say)
        for clients in options.clients:
            with stage.audience(people[:clients]) as opened:
                openings += [(clients, who, seconds) for who, seconds in opened.items()]
                rows += stage.measure()
    return Report("relay", tables=_tables(rows, openings), bars=_bars(rows))


def _raise_limits() -> None:
    """A socket is an open file, and children inherit what we may open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Stage:
    """Three servers, a crowd in front of each, and one publisher who speaks to them in turn."""

    def __init__(self, product: Product, inside: Inside, folder: Path, options: argparse.Namespace, say: Say) -> None:
        self._product = product
        self._inside = inside
        self._folder = folder
        self._repeat = options.repeat
        self._who = [PRODUCT] if options.without_yardsticks else [PRODUCT, STOCK, RAW]
        self._say = say
        self._results = 0
        self._configurations = 0
        self._sweeps = 0
        self._tickers = options.tickers

    @contextlib.contextmanager
    def audience(self, people: Sequence[dict[str, Any]]) -> Iterator[dict[str, float]]:
        """Starts the servers and fills their halls; gives how many seconds each took to let everybody in."""
        self._people = people
        with contextlib.ExitStack() as closing:
            self._crowds: dict[str, Crowd] = {}
            opened = {}
            for who in self._who:
                port = free_port()
                self._start(who, port)
                closing.callback(self._product.kill, who)
                seats = [_seat(who, person) for person in people]
                self._crowds[who] = closing.enter_context(Crowd(self._folder, who, port, seats))
                self._say(f"{len(people)} sockets to {_NAMES[who]}")
                opened[who] = self._crowds[who].fill()
            yield opened

    def measure(self) -> list[Row]:
        """Every scenario on every server, in turn, so that whatever else the machine does meets all of them."""
        runs: dict[tuple[str, str], list[Run]] = defaultdict(list)
        for number in range(self._repeat):
            for scenario, one in (("paced", self._paced), ("burst", self._burst), ("fan-out", self._fan_out)):
                for who in self._who:
                    if scenario == "fan-out" or who != RAW:  # the raw one knows no groups
                        measured = one(who)
                        runs[scenario, who].append(measured)
                        self._say(
                            f"{len(self._people)} sockets, {scenario}, {_NAMES[who]}, {number + 1} of {self._repeat}: "
                            f"p99 {np.percentile(measured.latencies, 99) * 1000 if measured.latencies.size else 0:.1f} ms, "
                            f"{measured.per_core_second:,.0f} per core-second, {measured.lost} lost"
                        )
        return [Row(scenario, len(self._people), who, found) for (scenario, who), found in runs.items()]

    def _start(self, who: str, port: int) -> None:
        if who == PRODUCT:
            self._product.start_web(PRODUCT, port)
            return
        if who == STOCK:
            ours = {
                "boritrader.asgi:application": "workers.bench.yardsticks.stock_layer:application",
                "live.websocket:LiveProtocol": "websockets-sansio",
                "on": "off",
            }
            argv = [ours.get(part, part) for part in web_command("127.0.0.1", str(port))]
        else:
            argv = ["-m", "workers.bench.yardsticks.broadcast", str(port)]
        self._product.start_other(python(who, *argv, values=self._product.values))
        self._product.wait_for(who, lambda: Product.answers(f"http://127.0.0.1:{port}/"))

    def _paced(self, who: str) -> Run:
        return self._sweep(who, batches=BATCHES, seconds=PACED_SECONDS)

    def _burst(self, who: str) -> Run:
        return self._sweep(who, batches=1, seconds=0.0)

    def _sweep(self, who: str, *, batches: int, seconds: float) -> Run:
        self._sweeps += 1
        expected = [person["numbers"] for person in self._people]
        deliveries = sum(map(len, expected))
        results = self._tickers * 12
        closings = len(self._people) if who == PRODUCT else 0
        heard, cpu, sent = self._listen_to(
            who,
            deliveries + closings,
            "workers.bench.audience:sweep",
            run=self._sweeps,
            results=results,
            batches=batches,
            seconds=seconds,
        )
        return _judge(heard, expected, np.repeat(sent, results // batches), cpu)

    def _fan_out(self, who: str) -> Run:
        expected = [list(range(FAN_OUT_FRAMES))] * len(self._people)
        deliveries = len(self._people) * FAN_OUT_FRAMES
        heard, cpu, sent = self._listen_to(who, deliveries, "workers.bench.audience:fan_out", count=FAN_OUT_FRAMES)
        return _judge(heard, expected, np.array(sent), cpu)

    def _listen_to(self, who: str, frames: int, function: str, **arguments: Any) -> tuple[Float64s, float, list[float]]:
        before = self._cpu(who)
        sent = self._inside.call(function, to=who, **arguments)
        heard = self._crowds[who].heard(frames, seconds=PATIENCE_SECONDS, quiet=QUIET_SECONDS)
        return heard, self._cpu(who) - before, sent

    def _cpu(self, who: str) -> float:
        times = [process.cpu_times() for process in self._product.processes(who)]
        return sum(one.user + one.system for one in times)


def _seat(who: str, person: dict[str, Any]) -> Seat:
    match who:
        case "product":
            return Seat("/ws/notifications/", {"Cookie": f"sessionid={person['cookie']}"})
        case "stock":
            return Seat(f"/?{urlencode([('group', group) for group in person['groups']])}", {})
        case _:
            return Seat("/", {})


def _judge(heard: Float64s, expected: Sequence[Sequence[int]], sent: Float64s, cpu: float) -> Run:
    """What of the `expected` numbers each client heard, and how long after `sent[number]`."""
    wanted = {(client, number) for client, numbers in enumerate(expected) for number in numbers}
    seen: set[tuple[int, int]] = set()
    newest: dict[int, int] = {}
    latencies = []
    repeated = out_of_order = 0
    for client, number, at in zip(
        heard[:, 0].astype(int).tolist(), heard[:, 1].astype(int).tolist(), heard[:, 2].tolist(), strict=True
    ):
        key = (client, number)
        if key in seen or key not in wanted:
            repeated += 1
            continue
        seen.add(key)
        out_of_order += number < newest.get(client, -1)
        newest[client] = max(number, newest.get(client, -1))
        latencies.append(at - float(sent[number]))
    return Run(np.array(latencies), len(wanted), len(wanted) - len(seen), repeated, out_of_order, cpu)


def _tables(rows: Sequence[Row], openings: Sequence[tuple[int, str, float]]) -> list[Table]:
    titles = {
        "paced": f"A sweep's results in {BATCHES} transactions over {PACED_SECONDS:g} s, ten groups a client",
        "burst": "The same results in one transaction, published at once",
        "fan-out": f"{FAN_OUT_FRAMES} frames to everybody",
    }
    columns = ["clients", "server", "p50 ms", "p99 ms", "deliveries/core-s", "deliveries", "lost", "again", "disorder"]
    tables = [
        Table(
            title,
            columns,
            [
                [
                    row.clients,
                    _NAMES[row.who],
                    row.percentile(50),
                    row.percentile(99),
                    row.per_core_second,
                    row.total("deliveries"),
                    row.total("lost"),
                    row.total("repeated"),
                    row.total("out_of_order"),
                ]
                for row in rows
                if row.scenario == scenario
            ],
        )
        for scenario, title in titles.items()
    ]
    tables.append(
        Table(
            "Letting everybody in (the product alone looks up session, plan and groups)",
            ["clients", "server", "seconds", "clients/s"],
            [[clients, _NAMES[who], seconds, round(clients / seconds)] for clients, who, seconds in openings],
        )
    )
    return tables


def _bars(rows: Sequence[Row]) -> list[Bar]:
    """The bars of DESIGN 10, where their rows were run."""
    by = {(row.scenario, row.clients, row.who): row for row in rows}
    bars = []
    if paced := by.get(("paced", 1000, PRODUCT)):
        bars.append(Bar("paced, 1,000 sockets, p50", paced.percentile(50), 10, is_at_most=True, unit="ms"))
        bars.append(Bar("paced, 1,000 sockets, p99", paced.percentile(99), 30, is_at_most=True, unit="ms"))
        if stock := by.get(("paced", 1000, STOCK)):
            ratio = paced.percentile(99) / stock.percentile(99)
            bars.append(Bar("paced, 1,000 sockets, p99 beside stock", ratio, 0.5, is_at_most=True, unit="x"))
    for row in rows:
        if row.scenario == "fan-out" and row.who == PRODUCT:
            what = f"fan-out, {row.clients:,} sockets, per core-second beside"
            if stock := by.get(("fan-out", row.clients, STOCK)):
                ratio = row.per_core_second / stock.per_core_second
                bars.append(Bar(f"{what} stock", ratio, 10, is_at_most=False, unit="x"))
            if raw := by.get(("fan-out", row.clients, RAW)):
                ratio = row.per_core_second / raw.per_core_second
                bars.append(Bar(f"{what} raw", ratio, 0.7, is_at_most=False, unit="x"))
    ours = [row for row in rows if row.who == PRODUCT]
    for name, what in (("lost", "lost"), ("repeated", "delivered again"), ("out_of_order", "out of order")):
        bars.append(Bar(f"frames {what}", sum(row.total(name) for row in ours), 0, is_at_most=True))
    return bars
