"""What the record's pages show beside its numbers: which record is asked for, its rows as they are drawn, the nights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import TypeVar
from urllib.parse import urlencode

from dashboard.numbers import moment
from dashboard.plots import Whisker, reach, whisker
from engine.stats import Summary
from signals.models import Horizon
from signals.services.evaluation import to_ms
from signals.services.record import (
    PARITY_NIGHTS,
    CallRecordJson,
    DayJson,
    Grouping,
    NightJson,
    OutcomeJson,
    RowJson,
    Side,
    public_calls,
)

SIDES = {Side.ALL: "All calls", Side.BUY: "BUY", Side.SELL: "SELL: move avoided"}
GROUPINGS = {
    Grouping.ALGORITHM: "Algorithm",
    Grouping.CONFIGURATION: "Configuration",
    Grouping.TICKER: "Ticker",
    Grouping.TIMEFRAME: "Timeframe",
    Grouping.MONTH: "Month",
}
# What is said of rows that the central feed does not run any more. A timeframe or a month is never taken out of it.
GONE = {
    Grouping.ALGORITHM: "retired",
    Grouping.CONFIGURATION: "retired",
    Grouping.TICKER: "no longer followed",
}

E = TypeVar("E", bound=Enum)


class NoSuchRecord(ValueError):
    """The address asks for a record that is never made. The message says what there is."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which record is asked for."""

    horizon: Horizon
    side: Side
    by: Grouping

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Choice:
        """What a query string asks for. Raises NoSuchRecord."""
        asked = query.get("horizon", str(Horizon.H4.value))
        horizon = next((one for one in Horizon if str(one.value) == asked), None)
        if horizon is None:
            raise NoSuchRecord(f"The horizon is one of {', '.join(str(one.value) for one in Horizon)} minutes.")
        return cls(
            horizon,
            _one_of(Side, query.get("side", Side.ALL), "Calls are"),
            _one_of(Grouping, query.get("by", Grouping.ALGORITHM), "Rows are by"),
        )

    def query(self, *, horizon: Horizon | None = None, side: Side | None = None, by: Grouping | None = None) -> str:
        """The query string of this record, or of the one that differs from it in what is given."""
        return urlencode(
            {"horizon": (horizon or self.horizon).value, "side": side or self.side, "by": by or self.by},
        )

    def switches(self) -> list[Switch]:
        """The ways from this record to its neighbours."""
        return [
            Switch(
                "After",
                [Way(one.label, self.query(horizon=one), one is self.horizon) for one in Horizon],
            ),
            Switch("Calls", [Way(label, self.query(side=one), one is self.side) for one, label in SIDES.items()]),
        ]

    def groupings(self) -> Switch:
        """The ways to the same calls in other rows."""
        return Switch("By", [Way(label, self.query(by=one), one is self.by) for one, label in GROUPINGS.items()])


@dataclass(frozen=True, slots=True)
class Way:
    """A link to another record."""

    label: str
    query: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Switch:
    """Links of which one is where we are."""

    label: str
    ways: list[Way]


def _one_of(kind: type[E], value: str, words: str) -> E:
    try:
        return kind(value)
    except ValueError:
        raise NoSuchRecord(f"{words} one of {', '.join(str(one.value) for one in kind)}.") from None


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table of summaries."""

    name: str
    detail: str
    tag: str
    query: str  # of dashboard:find-pair-record; empty: leads nowhere
    summary: Summary
    whisker: Whisker | None

    @property
    def difference(self) -> float | None:
        return difference(self.summary)


def difference(summary: Summary) -> float | None:
    """What the mean call gave beyond buy and hold over the same spans."""
    if summary.mean is None or summary.hold_mean is None:
        return None
    return summary.mean - summary.hold_mean


@dataclass(frozen=True, slots=True)
class Due:
    """When the first call of a record is scored after one horizon; `query` leads to the record of that horizon."""

    label: str
    query: str
    at: int
    is_chosen: bool
    is_over: bool


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a record begins that has nothing scored yet: its first public call, and its dates, the shortest horizon first."""

    published_at: int
    dues: list[Due]


def beginning(choice: Choice, at: datetime) -> Beginning | None:
    """The beginning of the record that is asked for, or None before its first call is public."""
    calls = public_calls(at=at)
    if choice.side is not Side.ALL:
        calls = calls.filter(signal=choice.side.upper())
    first = calls.order_by("candle_closed_at").values_list("published_at", flat=True).first()
    if first is None:
        return None
    entry = first.replace(second=0, microsecond=0) + timedelta(minutes=1)  # as signals.services.scoring has it
    dates = {one: entry + timedelta(minutes=one) for one in Horizon}
    return Beginning(
        to_ms(first),
        [
            Due(one.label, choice.query(horizon=one), to_ms(due), one is choice.horizon, due <= at)
            for one, due in dates.items()
        ],
    )


def record_lines(by: Grouping, rows: Sequence[RowJson]) -> list[Line]:
    """The rows of a record, in its own order: the best mean first, those with too little to say last."""
    scale = _scale([row.summary for row in rows])
    gone = GONE.get(by, "")
    leads = {Grouping.ALGORITHM: "algorithm", Grouping.TICKER: "ticker"}.get(by)
    return [
        Line(
            name=row.label,
            detail=row.detail,
            tag="" if row.is_running else gone,
            query=urlencode({leads: row.key}) if leads else "",
            summary=row.summary,
            whisker=draw_rate(row.summary, scale),
        )
        for row in rows
    ]


def horizon_lines(summaries: Mapping[int, Summary]) -> list[Line]:
    """A row for each horizon that has a summary."""
    scale = _scale(summaries.values())
    return [
        Line(f"After {one.label}", "", "", "", summaries[one.value], draw_rate(summaries[one.value], scale))
        for one in Horizon
        if one.value in summaries
    ]


def _scale(summaries: Iterable[Summary]) -> float:
    return reach(
        [
            (one.hit_low, one.hit_high)
            for one in summaries
            if not one.is_few and one.hit_low is not None and one.hit_high is not None
        ]
    )


def draw_rate(summary: Summary, scale: float | None = None) -> Whisker | None:
    """The hit rate and its interval as a drawing; None where there is too little to say."""
    if summary.is_few or summary.hit_low is None or summary.hit_rate is None or summary.hit_high is None:
        return None
    return whisker(summary.hit_low, summary.hit_rate, summary.hit_high, scale or _scale([summary]))


def month_ends(days: Sequence[DayJson]) -> list[DayJson]:
    """The last day of each month, newest first: the cumulative line as a table."""
    last = {f"{moment(one.day):%Y-%m}": one for one in days}
    return list(last.values())[::-1]


@dataclass(frozen=True, slots=True)
class CallLine:
    """A call, and what became of it after each horizon; None is pending."""

    call: CallRecordJson
    outcomes: list[tuple[str, OutcomeJson | None]]


def call_lines(calls: Sequence[CallRecordJson]) -> list[CallLine]:
    """The calls with one entry per horizon, shortest first."""
    lines = []
    for call in calls:
        known = {outcome.horizon: outcome for outcome in call.outcomes}
        lines.append(CallLine(call, [(one.label, known.get(one.value)) for one in Horizon]))
    return lines


@dataclass(frozen=True, slots=True)
class Square:
    """A day of the strip: `state` is same, differs, failed or none (nothing was replayed)."""

    day: str
    state: str
    words: str


@dataclass(frozen=True, slots=True)
class Strip:
    """The last nights of parity at a glance, oldest first, and what they add up to."""

    squares: list[Square]
    compared: int
    differing: int
    same_nights: int
    bad: list[Square]  # those that differ or failed


def parity_strip(nights: Sequence[NightJson]) -> Strip | None:
    """The days up to the newest night, one square each; None before the first night. `nights` come newest first."""
    if not nights:
        return None
    known = {night.day: night for night in nights}
    last = date.fromisoformat(nights[0].day)
    days = [(last - timedelta(days=back)).isoformat() for back in range(PARITY_NIGHTS - 1, -1, -1)]
    squares = [_square(day, known.get(day)) for day in days]
    return Strip(
        squares=squares,
        compared=sum(night.compared for night in nights),
        differing=sum(night.differing for night in nights),
        same_nights=sum(square.state == "same" for square in squares),
        bad=[square for square in squares if square.state in ("differs", "failed")],
    )


def _square(day: str, night: NightJson | None) -> Square:
    if night is None:
        return Square(day, "none", "not replayed")
    if not night.is_done:
        return Square(day, "failed", night.detail)
    if not (night.compared or night.differing):
        return Square(day, "none", "there was nothing to compare")
    state = "differs" if night.differing else "same"
    return Square(day, state, f"{night.differing:,} of {night.compared:,} verdicts differ")
