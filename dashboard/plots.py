"""The plots of the record as coordinates: numbers in, per cent of the drawing's width and height out. Pure functions.

A drawing has no inner scale (no viewBox), so that its text keeps its size on every screen; what lies between TOP and
BOTTOM is the plot, below it stand the labels. Templates draw it; colours are the style sheet's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from dashboard.numbers import MINUS, day, moment, signed_percent, whole
from signals.services.record import DayJson, DistributionJson, RowJson

TOP, BOTTOM = 5.0, 88.0
# The part of its place that a bar fills.
_FILLED = 0.82
_LABELS = 6


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis, and where it stands."""

    at: float
    label: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle: `kind` is gain, loss, few or empty; `title` says in words what it stands for."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Plot:
    """What every plot has: labels at the side and below, and where zero lies (None: not in sight)."""

    side: list[Tick]
    below: list[Tick]
    zero: float | None


@dataclass(frozen=True, slots=True)
class Histogram(Plot):
    """Bars of counts; `zero` is the x of a net return of nothing. `losses` and `gains` count both sides of it."""

    bars: list[Bar]
    losses: int
    gains: int


@dataclass(frozen=True, slots=True)
class Lines(Plot):
    """Two lines as SVG paths in a square of 100 by 100; `zero` is a y."""

    net: str
    hold: str


@dataclass(frozen=True, slots=True)
class Months(Plot):
    """A bar of mean net return per month and a mark (x, y, width) of buy and hold; `zero` is a y."""

    bars: list[Bar]
    marks: list[tuple[float, float, float]]


@dataclass(frozen=True, slots=True)
class Whisker:
    """An interval of rates around a rate, beside the half: x in per cent. `kind` says on which side all of it lies."""

    low: float
    rate: float
    high: float
    half: float
    kind: str


def nice_steps(low: float, high: float, wanted: int = 4) -> list[float]:
    """About `wanted` round numbers from `low` to `high`, both included in what they span; high above low."""
    raw = (high - low) / wanted
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def histogram(given: DistributionJson) -> Histogram | None:
    """How many calls fell into each interval of net return; None where none was scored."""
    edges, counts = given.edges, given.counts
    if not sum(counts):
        return None
    steps = nice_steps(0, max(counts))
    place = 100 / len(counts)
    bars = []
    for number, count in enumerate(counts):
        kind = "loss" if number < len(edges) and edges[number] <= 0 else "gain"
        top = _height(count, steps)
        x = number * place + place * (1 - _FILLED) / 2
        title = f"{_between(edges, number)}: {whole(count)} calls"
        bars.append(_bar(x, top, place * _FILLED, BOTTOM - top, kind, title))
    shown = edges[:: max(1, (len(edges) - 1) // 4)]
    return Histogram(
        side=[Tick(_height(step, steps), whole(round(step))) for step in steps if step == round(step)],
        below=[Tick(_round((edges.index(edge) + 1) * place), _basis_points(edge)) for edge in shown],
        zero=_round((edges.index(0) + 1) * place) if 0 in edges else None,
        bars=bars,
        losses=sum(count for bar, count in zip(bars, counts, strict=True) if bar.kind == "loss"),
        gains=sum(count for bar, count in zip(bars, counts, strict=True) if bar.kind == "gain"),
    )


def _between(edges: Sequence[int], number: int) -> str:
    if number == 0:
        return f"below {_basis_points(edges[0])}"
    if number == len(edges):
        return f"{_basis_points(edges[-1])} and more"
    return f"{_basis_points(edges[number - 1])} to {_basis_points(edges[number])}"


def _basis_points(edge: int) -> str:
    return signed_percent(edge * 1e-4, 1 if edge % 10 == 0 else 2) if edge else "0"


def lines(days: Sequence[DayJson]) -> Lines | None:
    """The running sums from nothing at the first day's beginning to the end of the last; None without a day."""
    if not days:
        return None
    day_length = 86_400_000
    begin, end = days[0].day, days[-1].day + day_length
    values = [0.0, *(one.net for one in days), *(one.hold for one in days)]
    low, high = min(values), max(values)
    steps = nice_steps(low, high if high > low else low + 0.01)

    def path(sums: Sequence[float]) -> str:
        points = [(begin, 0.0), *((one.day + day_length, value) for one, value in zip(days, sums, strict=True))]
        return "M" + " L".join(
            f"{_round((at - begin) / (end - begin) * 100)},{_height(value, steps)}" for at, value in points
        )

    return Lines(
        side=[Tick(_height(step, steps), _axis_percent(step, steps)) for step in steps],
        below=_dates(begin, end),
        zero=_height(0, steps),
        net=path([one.net for one in days]),
        hold=path([one.hold for one in days]),
    )


def _dates(begin: int, end: int) -> list[Tick]:
    """A few days at equal distances; the outer ones stand inside of the plot."""
    count = max(1, min(_LABELS - 2, (end - begin) // 86_400_000 // 2))
    form = (lambda at: f"{moment(at).day} {moment(at):%b}") if end - begin < 300 * 86_400_000 else day
    anchors = {0: "start", count: "end"}
    return [
        Tick(_round(part / count * 100), form(begin + (end - begin) * part // count), anchors.get(part, "middle"))
        for part in range(count + 1)
    ]


def month_bars(months: Sequence[RowJson]) -> Months | None:
    """The mean net return of each month, buy and hold beside it; None where no month has one."""
    means = [(one.summary.mean, one.summary.hold_mean) for one in months if one.summary.mean is not None]
    if not means:
        return None
    values = [0.0, *(value for pair in means for value in pair if value is not None)]
    steps = nice_steps(min(values), max(values) if max(values) > min(values) else min(values) + 0.001)
    zero, place = _height(0, steps), 100 / len(months)
    width = min(place * 0.5, 6.0)  # a lone month is no wall
    bars, marks = [], []
    for number, one in enumerate(months):
        summary, x = one.summary, (number + 0.5) * place - width / 2
        if summary.mean is None:
            continue
        at = _height(summary.mean, steps)
        kind = "few" if summary.is_few else "gain" if summary.mean > 0 else "loss"
        title = f"{one.label}: mean {signed_percent(summary.mean)} of {whole(summary.scored)} calls"
        if summary.is_few:
            title += f", only {summary.apart} of them do not overlap: too few to say"
        bars.append(_bar(x, min(at, zero), width, abs(at - zero), kind, title))
        if summary.hold_mean is not None:
            marks.append((_round(x), _height(summary.hold_mean, steps), _round(width)))
    every = math.ceil(len(months) / _LABELS)
    return Months(
        side=[Tick(_height(step, steps), _axis_percent(step, steps)) for step in steps],
        below=[
            Tick(_round((number + 0.5) * place), _month(one.key))
            for number, one in enumerate(months)
            if number % every == 0
        ],
        zero=zero,
        bars=bars,
        marks=marks,
    )


def _month(key: str) -> str:
    """2026-11 as Nov 26."""
    return f"{date.fromisoformat(f'{key}-01'):%b %y}"


def reach(intervals: Sequence[tuple[float, float]]) -> float:
    """How far from a half whiskers must reach, so that all of them fit on one scale: a multiple of 0.05, at most 0.5."""
    farthest = max((abs(end - 0.5) for pair in intervals for end in pair), default=0.05)
    return min(0.5, max(0.05, math.ceil(farthest * 20 - 1e-9) / 20))


def whisker(low: float, rate: float, high: float, reach: float) -> Whisker:
    """The drawing of a rate and its interval on a scale from 0.5 - reach to 0.5 + reach."""

    def place(value: float) -> float:
        return _round(4 + 92 * min(1.0, max(0.0, (value - 0.5) / (2 * reach) + 0.5)))

    kind = "gain" if low > 0.5 else "loss" if high < 0.5 else "open"
    return Whisker(place(low), place(rate), place(high), place(0.5), kind)


def _axis_percent(value: float, steps: Sequence[float]) -> str:
    """A label as exact as the distance to the next one needs it."""
    step = (steps[1] - steps[0]) * 100
    digits = next(digits for digits in range(7) if digits == 6 or abs(step - round(step, digits)) < 1e-9)
    text = signed_percent(value, digits)
    return text if text.strip(f"0.{MINUS}\N{NO-BREAK SPACE}%") else "0"


def _height(value: float, steps: Sequence[float]) -> float:
    """The y of a value on the scale of these steps."""
    return _round(BOTTOM - (value - steps[0]) / (steps[-1] - steps[0]) * (BOTTOM - TOP))


def _bar(x: float, y: float, width: float, height: float, kind: str, title: str) -> Bar:
    return Bar(_round(x), _round(y), _round(width), _round(height), kind, title)


def _round(value: float) -> float:
    return round(value, 2)
