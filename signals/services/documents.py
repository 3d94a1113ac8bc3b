"""The pages of the public record: documents made of the cells, one per horizon, side and grouping."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import NamedTuple

import msgspec
from django.conf import settings
from django.db import transaction

from engine.stats import FEW, Tally, distribution, summarise, total
from market.models import Ticker
from signals.models import CentralSpan, Horizon, Record, RecordCell, RecordDay, Signal
from signals.services.evaluation import to_ms
from signals.services.record import DayJson, DistributionJson, Grouping, RecordJson, RowJson, Side, public_calls

# The plot of a distribution: so many bars on each side of zero, as wide as they must be for all but a few calls.
BARS = 20
WIDTHS = (5, 10, 25, 50, 100, 250)  # basis points
OUTSIDE = 0.02

SIGNALS = {Side.ALL: [Signal.BUY, Signal.SELL], Side.BUY: [Signal.BUY], Side.SELL: [Signal.SELL]}


# Tallies of one row are added together when there are so many: all cells of all months at once would be too much to hold.
HELD = 4

Sums = dict[tuple[Grouping, str, str], list[Tally]]
"""By grouping, key of the row, signal."""


class Names(NamedTuple):
    """What rows are called, and what of it the central feed runs now."""

    configurations: dict[int, tuple[str, str, str, str]]  # id -> algorithm's id, its name, timeframe, details
    running: frozenset[int]
    symbols: dict[int, str]
    active: frozenset[int]


def build_documents(*, at: datetime) -> int:
    """Writes every page of the record from the cells as they are; returns how many. `at` is the market's time."""
    names = _names()
    calls = public_calls(at=at).order_by("candle_closed_at").values_list("candle_closed_at", flat=True)
    first, last = calls.first(), calls.last()
    pages = []
    for horizon in Horizon.values:
        sums = _add_up(horizon, names)
        for side in Side:
            frame = _frame(sums, horizon, side, at)
            frame.since, frame.until = (to_ms(one) if one else None for one in (first, last))
            for by in Grouping:
                frame.by, frame.rows = by, frame.months if by is Grouping.MONTH else _rows(sums, by, side, names)
                pages.append(
                    Record(horizon=horizon, side=side, grouping=by, document=msgspec.to_builtins(frame), built_at=at)
                )
    with transaction.atomic():
        Record.objects.bulk_create(
            pages,
            update_conflicts=True,
            unique_fields=["horizon", "side", "grouping"],
            update_fields=["document", "built_at"],
        )
    return len(pages)


def _add_up(horizon: int, names: Names) -> Sums:
    """The cells of a horizon, added up for each row of each grouping."""
    sums: Sums = {}
    cells = RecordCell.objects.filter(horizon=horizon, ticker__exchange=settings.EXCHANGE)
    # In one order: sums of floats depend on it in their last bits.
    for cell in cells.order_by("configuration", "ticker", "month", "signal").iterator():
        algorithm, _, timeframe, _ = names.configurations[cell.configuration_id]
        keys = {
            Grouping.ALGORITHM: algorithm,
            Grouping.CONFIGURATION: str(cell.configuration_id),
            Grouping.TICKER: names.symbols[cell.ticker_id],
            Grouping.TIMEFRAME: timeframe,
            Grouping.MONTH: f"{cell.month:%Y-%m}",
        }
        tally = cell.tally
        for by, key in keys.items():
            parts = sums.setdefault((by, key, cell.signal), [])
            parts.append(tally)
            if len(parts) >= HELD:
                parts[:] = [total(parts)]
    return sums


def _tallies(sums: Sums, by: Grouping, side: Side) -> dict[str, Tally]:
    """The tallies of a grouping's rows, in the order of their keys."""
    keys = sorted({key for grouping, key, signal in sums if grouping is by and signal in SIGNALS[side]})
    return {key: total([one for signal in SIGNALS[side] for one in sums.get((by, key, signal), ())]) for key in keys}


def _frame(sums: Sums, horizon: int, side: Side, at: datetime) -> RecordJson:
    """What all groupings of a horizon and side share; rows are still to come."""
    months = _tallies(sums, Grouping.MONTH, side)
    everything = total(list(months.values()))
    edges = _edges(everything)
    return RecordJson(
        v=1,
        exchange=settings.EXCHANGE,
        is_simulated=settings.IS_SIMULATED,
        horizon=horizon,
        side=side,
        by=Grouping.ALGORITHM,
        fee_rate=settings.FEE_RATE,
        few=FEW,
        built_at=to_ms(at),
        since=None,
        until=None,
        total=summarise(everything),
        rows=[],
        months=[_row(month, tally, month, "", True) for month, tally in months.items()],
        cumulative=_cumulative(horizon, side),
        distribution=DistributionJson(edges, distribution(everything, edges)),
    )


def _rows(sums: Sums, by: Grouping, side: Side, names: Names) -> list[RowJson]:
    """The rows of a grouping: the best mean first, those with too little to say last."""
    described = _described(by, names)
    return sorted((_row(key, tally, *described[key]) for key, tally in _tallies(sums, by, side).items()), key=_merit)


def _described(by: Grouping, names: Names) -> dict[str, tuple[str, str, bool]]:
    """Of each key its label, its details, and whether it is running."""
    configurations, running = names.configurations, names.running
    if by is Grouping.TICKER:
        return {symbol: (symbol, "", ticker in names.active) for ticker, symbol in names.symbols.items()}
    if by is Grouping.CONFIGURATION:
        return {str(one): (name, details, one in running) for one, (_, name, _, details) in configurations.items()}
    place, label = (0, 1) if by is Grouping.ALGORITHM else (2, 2)
    live = {configurations[one][place] for one in running}
    return {parts[place]: (parts[label], "", parts[place] in live) for parts in configurations.values()}


def _row(key: str, tally: Tally, label: str, detail: str, is_running: bool) -> RowJson:
    return RowJson(key, label, detail, is_running, summarise(tally), tally.net_sum)


def _merit(row: RowJson) -> tuple[bool, bool, float, str]:
    mean = row.summary.mean
    return row.summary.is_few, mean is None, -(mean or 0.0), row.label


def _cumulative(horizon: int, side: Side) -> list[DayJson]:
    """The running sums of net returns and of buy and hold, day by day."""
    days: dict[date, tuple[float, float]] = {}
    rows = RecordDay.objects.filter(horizon=horizon, signal__in=SIGNALS[side]).order_by("day")
    for day, net, hold in rows.values_list("day", "net_sum", "hold_sum"):
        before = days.get(day, (0.0, 0.0))
        days[day] = before[0] + net, before[1] + hold
    line, net_sum, hold_sum = [], 0.0, 0.0
    for day, (net, hold) in days.items():
        net_sum, hold_sum = net_sum + net, hold_sum + hold
        line.append(DayJson(to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC)), net_sum, hold_sum))
    return line


def _edges(tally: Tally) -> list[int]:
    """Edges of equal bars in basis points, around zero, that leave no more than OUTSIDE of the calls beyond them."""
    for width in WIDTHS:
        edges = list(range(-BARS * width, BARS * width + 1, width))
        counts = distribution(tally, edges)
        if counts[0] + counts[-1] <= OUTSIDE * tally.scored:
            break
    return edges


def _names() -> Names:
    spans = CentralSpan.objects.select_related("configuration__algorithm")
    configurations = {}
    for one in {span.configuration_id: span.configuration for span in spans}.values():
        values = ", ".join(f"{name} {value}" for name, value in sorted(one.parameters.items()))
        details = f"v{one.version} · {one.timeframe}" + (f" · {values}" if values else "")
        configurations[one.pk] = (one.algorithm_id, one.algorithm.name, one.timeframe, details)
    tickers = Ticker.objects.filter(exchange=settings.EXCHANGE)
    return Names(
        configurations=configurations,
        running=frozenset(span.configuration_id for span in spans if span.until is None),
        symbols=dict(tickers.values_list("pk", "symbol")),
        active=frozenset(Ticker.objects.active().values_list("pk", flat=True)),
    )
