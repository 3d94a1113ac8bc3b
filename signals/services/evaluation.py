"""From candles to verdicts: what one ticker's task computes, before anything is written."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
from celery.exceptions import SoftTimeLimitExceeded

from engine import registry
from engine.candles import CATCH_UP, TIMEFRAMES, Candles
from engine.evaluate import Signal, Verdict, WindowCache, verdict
from market.models import Ticker
from signals.models import CENTRAL, AlgorithmPreferences, Configuration, LatestSignal, Sweep, TickerRun

logger = logging.getLogger(__name__)

# (configuration, ticker) -> the newest verdict there is.
LatestSignals = Mapping[tuple[int, int], LatestSignal]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sweep runs; never changes during the sweep, so each worker process reads it once."""

    sweep_id: int
    feed: str
    slot: datetime
    configurations: tuple[Configuration, ...]
    central_ids: frozenset[int]  # those of the configurations that the central feed runs
    owner_id: int | None  # the premium user whose feed it is
    complained_of: set[int] = field(default_factory=set, compare=False)  # configurations whose failure is in the log

    @property
    def slot_ms(self) -> int:
        return to_ms(self.slot)

    @property
    def timeframes(self) -> frozenset[str]:
        return frozenset(configuration.timeframe for configuration in self.configurations)


@lru_cache(maxsize=64)
def plan_of(sweep_id: int) -> Plan:
    """The plan of a sweep. Raises Sweep.DoesNotExist."""
    sweep = Sweep.objects.get(pk=sweep_id)
    central = AlgorithmPreferences.objects.central().values_list("configuration", flat=True)
    return Plan(
        sweep_id=sweep_id,
        feed=sweep.feed,
        slot=sweep.slot,
        configurations=tuple(Configuration.objects.filter(pk__in=sweep.configuration_ids).order_by("pk")),
        central_ids=frozenset(central) & frozenset(sweep.configuration_ids),
        owner_id=None if sweep.feed == CENTRAL else owner_of(sweep.feed),
    )


def owner_of(feed: str) -> int:
    """The user a premium feed runs for: `premium:<user id>:<preference id>`."""
    return int(feed.split(":")[1])


@lru_cache(maxsize=20_000)
def symbol_of(ticker_id: int) -> str:
    """A ticker's symbol, which never changes."""
    return Ticker.objects.values_list("symbol", flat=True).get(pk=ticker_id)


def to_ms(at: datetime) -> int:
    """An instant as whole milliseconds since 1970 UTC."""
    return round(at.timestamp() * 1000)


def from_ms(milliseconds: float) -> datetime:
    """The instant of milliseconds since 1970 UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def last_close(timeframe: str, at: datetime) -> datetime:
    """The last instant at or before `at` at which candles of this timeframe close."""
    at_ms = to_ms(at)
    return from_ms(at_ms - at_ms % TIMEFRAMES[timeframe])


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict to write: the verdict, whose it is, and what stood on the candle before."""

    configuration: Configuration
    ticker_id: int
    verdict: Verdict
    previous: Signal

    @property
    def candle_closed_at(self) -> datetime:
        assert self.verdict.candle_closed_at_ms is not None  # only candles that exist are judged
        return from_ms(self.verdict.candle_closed_at_ms)

    @property
    def is_call(self) -> bool:
        """The verdict turned to BUY or SELL from anything else on the candle before."""
        return self.verdict.signal is not Signal.DO_NOTHING and self.verdict.signal is not self.previous


@dataclass(slots=True)
class TickerOutcome:
    """All that one ticker's evaluation gave in one sweep: the receipt's values and the verdicts to write."""

    ticker_id: int
    status: TickerRun.Status = TickerRun.Status.OK
    error: str = ""
    holes: int = 0
    duration_ms: float = 0
    judgements: list[Judgement] = field(default_factory=list)


def execute_algorithm(
    configuration: Configuration, candles: Candles, end: int | None = None, windows: WindowCache | None = None
) -> Verdict:
    """The verdict of a configuration on the candle before index `end`: for sweeps, bots and replays alike."""
    return verdict(registry.get(configuration.algorithm_id), configuration.parameters, candles, end, windows)


def evaluate_ticker(
    *, plan: Plan, ticker_id: int, candles: Mapping[str, Candles], latest: LatestSignals
) -> TickerOutcome:
    """Every verdict that the plan's configurations owe this ticker at the slot.

    `candles` are the ticker's, by timeframe. A configuration whose newest candle is not the one that closed last
    before the slot makes the ticker stale and gets no verdict: the next sweep makes up for it.
    """
    outcome = TickerOutcome(ticker_id)
    windows: WindowCache = {}
    closed = {timeframe: series.up_to(plan.slot_ms) for timeframe, series in candles.items()}
    for configuration in plan.configurations:
        series = closed[configuration.timeframe]
        if not is_fresh(series, plan.slot_ms):
            outcome.status, outcome.error = _worst(outcome, TickerRun.Status.STALE, _staleness(series, plan.slot_ms))
            continue
        known = latest.get((configuration.pk, ticker_id))
        try:
            _judge(outcome, configuration, series, known, windows)
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:  # the one plug-in boundary: it costs this algorithm on this ticker
            if configuration.pk not in plan.complained_of:  # an algorithm that always fails is told of once a sweep
                plan.complained_of.add(configuration.pk)
                logger.exception("%s failed on ticker %d at %s", configuration, ticker_id, plan.slot)
            message = f"{configuration.algorithm_id}: {type(error).__name__}: {error}"
            outcome.status, outcome.error = _worst(outcome, TickerRun.Status.FAILED, message[:300])
    return outcome


def is_fresh(series: Candles, slot_ms: int) -> bool:
    """Whether the newest candle is the last one that can have closed at or before the slot."""
    return len(series) > 0 and slot_ms - float(series.closed_at[-1]) < series.length_ms


def _staleness(series: Candles, slot_ms: int) -> str:
    if len(series) == 0:
        return f"no {series.timeframe} candles"
    age = (slot_ms - float(series.closed_at[-1])) / 1000
    return f"the newest {series.timeframe} candle closed {age:.0f} s before the slot"


def _worst(outcome: TickerOutcome, status: TickerRun.Status, error: str) -> tuple[TickerRun.Status, str]:
    """The status that a reader must see first: a failure, then staleness; with its own words."""
    if outcome.status is TickerRun.Status.OK or (
        outcome.status is TickerRun.Status.STALE and status is TickerRun.Status.FAILED
    ):
        return status, error
    return outcome.status, outcome.error


def _judge(
    outcome: TickerOutcome,
    configuration: Configuration,
    series: Candles,
    known: LatestSignal | None,
    windows: WindowCache,
) -> None:
    """Appends the verdicts of the newest candles that have none yet, at most CATCH_UP of them, oldest first."""
    count = len(series)
    oldest = max(0, count - CATCH_UP)
    start = oldest
    if known is not None:
        first_new = int(np.searchsorted(series.closed_at, to_ms(known.candle_closed_at), side="right"))
        start = max(oldest, first_new)
        outcome.holes += start - first_new
    if start == count:
        return
    judged = [execute_algorithm(configuration, series, index + 1, windows) for index in range(start, count)]
    previous = _verdict_before(configuration, series, start, known, windows)
    for one in judged:
        outcome.judgements.append(Judgement(configuration, outcome.ticker_id, one, previous))
        previous = one.signal


def _verdict_before(
    configuration: Configuration, series: Candles, index: int, known: LatestSignal | None, windows: WindowCache
) -> Signal:
    """What stood on the candle before `index`: as written, or computed where nobody wrote it."""
    if index == 0:
        return Signal.DO_NOTHING
    if known is not None and to_ms(known.candle_closed_at) == series.closed_at[index - 1]:
        return Signal(known.signal)
    return execute_algorithm(configuration, series, index, windows).signal


def load_latest(*, configuration_ids: Sequence[int], ticker_ids: Sequence[int]) -> dict[tuple[int, int], LatestSignal]:
    """The newest verdicts of these configurations on these tickers, by (configuration, ticker)."""
    rows = LatestSignal.objects.filter(configuration__in=configuration_ids, ticker__in=ticker_ids)
    return {(row.configuration_id, row.ticker_id): row for row in rows}
