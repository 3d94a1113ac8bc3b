"""The pages of the public record: documents made of the cells, one per horizon, side and grouping."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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


class Cell(NamedTuple):
    """A tally and whose it is."""

    configuration_id: int
    ticker_id: int
    month: date
    signal: str
    tally: Tally


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
        cells = [
            Cell(cell.configuration_id, cell.ticker_id, cell.month, cell.signal, cell.tally)
            for cell in RecordCell.objects.filter(horizon=horizon, ticker__exchange=settings.EXCHANGE).iterator()
        ]
        for side in Side:
            chosen = [cell for cell in cells if cell.signal in SIGNALS[side]]
            frame = _frame(chosen, horizon, side, at)
            frame.since, frame.until = (to_ms(one) if one else None for one in (first, last))
            for by in Grouping:
                frame.by, frame.rows = by, _rows(chosen, by, names)
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


def _frame(cells: Sequence[Cell], horizon: int, side: Side, at: datetime) -> RecordJson:
    """What all groupings of a horizon and side share; rows are still to come."""
    everything = total([cell.tally for cell in cells])
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
        months=_row_per(cells, lambda cell: f"{cell.month:%Y-%m}", lambda key: (key, "", True)),
        cumulative=_cumulative(horizon, side),
        distribution=DistributionJson(edges, distribution(everything, edges)),
    )


def _rows(cells: Sequence[Cell], by: Grouping, names: Names) -> list[RowJson]:
    """The rows of a grouping: the best mean first, those with too little to say last."""
    configurations, running = names.configurations, names.running
    if by is Grouping.MONTH:
        return _row_per(cells, lambda cell: f"{cell.month:%Y-%m}", lambda key: (key, "", True))
    if by is Grouping.TICKER:
        is_active = {names.symbols[ticker]: ticker in names.active for ticker in names.symbols}
        rows = _row_per(cells, lambda cell: names.symbols[cell.ticker_id], lambda key: (key, "", is_active[key]))
    elif by is Grouping.CONFIGURATION:
        described = {str(key): (name, details, key in running) for key, (_, name, _, details) in configurations.items()}
        rows = _row_per(cells, lambda cell: str(cell.configuration_id), described.__getitem__)
    else:
        place = 0 if by is Grouping.ALGORITHM else 2
        keys = {key: parts[place] for key, parts in configurations.items()}
        labels = {parts[place]: parts[1] if by is Grouping.ALGORITHM else parts[2] for parts in configurations.values()}
        live = {keys[key] for key in running}
        rows = _row_per(cells, lambda cell: keys[cell.configuration_id], lambda key: (labels[key], "", key in live))
    return sorted(rows, key=_merit)


def _merit(row: RowJson) -> tuple[bool, bool, float, str]:
    mean = row.summary.mean
    return row.summary.is_few, mean is None, -(mean or 0.0), row.label


def _row_per(
    cells: Iterable[Cell], key_of: Callable[[Cell], str], describe: Callable[[str], tuple[str, str, bool]]
) -> list[RowJson]:
    """One row for each key, in the order of the keys. `describe` gives label, detail and whether it is running."""
    groups: dict[str, list[Tally]] = {}
    for cell in cells:
        groups.setdefault(key_of(cell), []).append(cell.tally)
    rows = []
    for key, parts in sorted(groups.items()):
        tally = total(parts)
        rows.append(RowJson(key, *describe(key), summarise(tally), tally.net_sum))
    return rows


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
