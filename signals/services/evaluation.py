"""From candles to verdicts: what one ticker's task computes, before anything is written."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import numpy as np
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection

from engine import registry
from engine.candles import CATCH_UP, TIMEFRAMES, Candles
from engine.evaluate import Panels, Signal, Verdict, verdict, verdicts
from market.models import Ticker
from market.statements import Statement
from signals.models import CENTRAL, AlgorithmPreferences, Configuration, Sweep, TickerRun

logger = logging.getLogger(__name__)


class Known(NamedTuple):
    """The newest verdict there is of a configuration on a ticker."""

    closed_at_ms: int
    signal: Signal


DO_NOTHING = Signal.DO_NOTHING  # looking it up in the class takes as long as the comparison, twelve times a ticker

LatestSignals = Mapping[tuple[int, int], Known]
"""By (configuration, ticker)."""


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
    too_slow: set[str] = field(default_factory=set, compare=False)  # algorithms that used up a task's time limit

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


def symbols_of(ticker_ids: Sequence[int]) -> Mapping[int, str]:
    """The tickers' symbols, which never change: asked once by each process, for all of them together."""
    if not _symbols.keys() >= set(ticker_ids):
        _symbols.update(Ticker.objects.values_list("pk", "symbol"))
    return _symbols


_symbols: dict[int, str] = {}


def to_ms(at: datetime) -> int:
    """An instant as whole milliseconds since 1970 UTC."""
    return round(at.timestamp() * 1000)


@lru_cache(maxsize=1_000)  # the verdicts of a sweep are of a few candles only
def from_ms(milliseconds: float) -> datetime:
    """The instant of milliseconds since 1970 UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def last_close(timeframe: str, at: datetime) -> datetime:
    """The last instant at or before `at` at which candles of this timeframe close."""
    at_ms = to_ms(at)
    return from_ms(at_ms - at_ms % TIMEFRAMES[timeframe])


class Judgement(NamedTuple):
    """A verdict to write: the verdict, whose it is, and what stood on the candle before."""

    configuration: Configuration
    ticker_id: int
    verdict: Verdict
    previous: Signal
    candle_closed_at: datetime
    is_call: bool  # the verdict turned to BUY or SELL from anything else on the candle before
    is_newest: bool  # of those of its pair


@dataclass(slots=True)
class TickerOutcome:
    """All that one ticker's evaluation gave in one sweep: the receipt's values and the verdicts to write."""

    ticker_id: int
    status: TickerRun.Status = TickerRun.Status.OK
    error: str = ""
    holes: int = 0
    duration_ms: float = 0
    judgements: list[Judgement] = field(default_factory=list)

    def note(self, status: TickerRun.Status, error: str) -> None:
        """Keeps the status that a reader must see first: a failure, then staleness; with its own words."""
        if self.status is TickerRun.Status.OK or (
            self.status is TickerRun.Status.STALE and status is TickerRun.Status.FAILED
        ):
            # What an algorithm says of itself may be anything; Postgres takes text without NUL.
            self.status, self.error = status, error.encode(errors="replace").decode().replace("\0", "")[:300]


class Fresh(NamedTuple):
    """A ticker's candles up to the slot, and when the last of them closed and the one before (ms; 0 without one)."""

    outcome: TickerOutcome
    series: Candles
    closed_at_ms: int
    before_ms: int
    newest: list[tuple[Candles, int]]  # what to judge in the usual case: the last candle

    def ends(self, start: int) -> list[tuple[Candles, int]]:
        """What to judge for the candles from index `start` on, as engine.evaluate.Panel takes it."""
        return [(self.series, end) for end in range(start + 1, len(self.series) + 1)]


class Debt(NamedTuple):
    """The newest candles of a ticker that a configuration has not judged."""

    outcome: TickerOutcome
    ends: list[tuple[Candles, int]]  # what to judge: these candles, after the one before them where that is needed
    previous: Signal | None  # what stood on the candle before; None: nobody wrote it, so it is computed


def execute_algorithm(configuration: Configuration, candles: Candles, end: int | None = None) -> Verdict:
    """The verdict of a configuration on the candle before index `end`: for bots and replays, as for the sweep."""
    return verdict(registry.get(configuration.algorithm_id), configuration.parameters, candles, end)


def evaluate(
    *, plan: Plan, ticker_ids: Sequence[int], candles: Mapping[str, Mapping[int, Candles]], latest: LatestSignals
) -> list[TickerOutcome]:
    """Every verdict that the plan's configurations owe these tickers at the slot: one outcome each, in their order.

    `candles` are by timeframe and ticker. A configuration whose newest candle is not the one that closed last before
    the slot makes the ticker stale and gets no verdict: the next sweep makes up for it.
    """
    outcomes = {ticker_id: TickerOutcome(ticker_id) for ticker_id in ticker_ids}
    fresh = {timeframe: _fresh(plan, candles[timeframe], outcomes.values()) for timeframe in sorted(plan.timeframes)}
    judging = _Judging(plan)
    for configuration in plan.configurations:
        debts = [
            debt
            for one in fresh[configuration.timeframe]
            if (debt := _debt(one, latest.get((configuration.id, one.outcome.ticker_id)))) is not None
        ]
        judging.settle(configuration, debts)
    return list(outcomes.values())


def _fresh(plan: Plan, candles: Mapping[int, Candles], outcomes: Iterable[TickerOutcome]) -> list[Fresh]:
    """The tickers that have the last candle that can have closed at or before the slot; the others are noted stale."""
    found = []
    for outcome in outcomes:
        series = candles[outcome.ticker_id].up_to(plan.slot_ms)
        if is_fresh(series, plan.slot_ms):
            *before, newest = (int(at) + series.length_ms for at in series.open_time[-2:])
            found.append(Fresh(outcome, series, newest, before[0] if before else 0, [(series, len(series))]))
        else:
            outcome.note(TickerRun.Status.STALE, _staleness(series, plan.slot_ms))
    return found


def is_fresh(series: Candles, slot_ms: int) -> bool:
    """Whether the newest candle is the last one that can have closed at or before the slot."""
    return len(series) > 0 and slot_ms - float(series.open_time[-1]) < 2 * series.length_ms


def _staleness(series: Candles, slot_ms: int) -> str:
    if len(series) == 0:
        return f"no {series.timeframe} candles"
    age = (slot_ms - float(series.closed_at[-1])) / 1000
    return f"the newest {series.timeframe} candle closed {age:.0f} s before the slot"


def _debt(fresh: Fresh, known: Known | None) -> Debt | None:
    """What is owed of this series: the newest candles that have no verdict yet, at most CATCH_UP of them."""
    outcome, series, closed_at_ms, before_ms, newest = fresh
    if known is not None and known.closed_at_ms == before_ms:  # the usual case
        return Debt(outcome, newest, known.signal)
    start = max(0, len(series) - CATCH_UP)
    if known is not None:
        if known.closed_at_ms >= closed_at_ms:
            return None
        first_new = int(np.searchsorted(series.closed_at, known.closed_at_ms, side="right"))
        start = max(start, first_new)
        outcome.holes += start - first_new
    if start == 0:
        return Debt(outcome, fresh.ends(0), Signal.DO_NOTHING)
    if known is not None and series.closed_at[start - 1] == known.closed_at_ms:
        return Debt(outcome, fresh.ends(start), known.signal)
    return Debt(outcome, fresh.ends(start - 1), None)


class _Judging:
    """The judging of one task. The one plug-in boundary: whatever an algorithm does costs it alone, on the tickers on
    which it does it; one that does not come back also costs the others their turn in this task, once in a sweep.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._panels = Panels()
        self._seconds: defaultdict[str, float] = defaultdict(float)  # by algorithm
        self._is_out_of_time = False

    def settle(self, configuration: Configuration, debts: Sequence[Debt]) -> None:
        """Judges what a configuration owes: all tickers together, or one by one where any of them fails."""
        if not debts or self._is_left_out(configuration, debts):
            return
        try:
            judged = self._judge(configuration, debts)
        except SoftTimeLimitExceeded:
            self._give_up(configuration, debts)
        except Exception:
            logger.debug("%s fails: its tickers one by one", configuration, exc_info=True)
            for debt in debts:
                self._settle_alone(configuration, debt)
        else:
            for debt, verdicts_owed in zip(debts, judged, strict=True):
                _add(configuration, debt, verdicts_owed)

    def _settle_alone(self, configuration: Configuration, debt: Debt) -> None:
        if self._is_left_out(configuration, [debt]):
            return
        try:
            [judged] = self._judge(configuration, [debt])
        except SoftTimeLimitExceeded:
            self._give_up(configuration, [debt])
        except Exception as error:
            if configuration.id not in self._plan.complained_of:  # one that always fails is told of once a sweep
                self._plan.complained_of.add(configuration.id)
                logger.exception("%s failed on ticker %d at %s", configuration, debt.outcome.ticker_id, self._plan.slot)
            _fail(configuration, [debt], f"{type(error).__name__}: {_words_of(error)}")
        else:
            _add(configuration, debt, judged)

    def _judge(self, configuration: Configuration, debts: Sequence[Debt]) -> list[list[Verdict]]:
        """The verdicts of each debt's `ends`. Raises whatever the algorithm raises."""
        started = time.perf_counter()
        try:
            algorithm = registry.get(configuration.algorithm_id)
            ends = [end for debt in debts for end in debt.ends]
            panel = self._panels.get(ends, algorithm.lookback(configuration.parameters))
            found = verdicts(algorithm, configuration.parameters, panel)
            if len(found) == len(debts):
                return [[one] for one in found]
            each = iter(found)
            return [list(islice(each, len(debt.ends))) for debt in debts]
        finally:
            self._seconds[configuration.algorithm_id] += time.perf_counter() - started

    def _is_left_out(self, configuration: Configuration, debts: Sequence[Debt]) -> bool:
        if configuration.algorithm_id in self._plan.too_slow:
            _fail(configuration, debts, "took a task's time before; left out until the next sweep")
        elif self._is_out_of_time:
            _fail(configuration, debts, "no time left in this task; the next sweep makes up for it")
        else:
            return False
        return True

    def _give_up(self, configuration: Configuration, debts: Sequence[Debt]) -> None:
        """The time limit struck, which it does once in a task: what there is must be written now.

        Blamed is the algorithm that took the most, and not the one whose turn it happened to be.
        """
        self._is_out_of_time = True
        slowest, seconds = max(self._seconds.items(), key=lambda item: item[1])
        self._plan.too_slow.add(slowest)
        logger.error("%s took %.0f s at %s: left out until the next sweep", slowest, seconds, self._plan.slot)
        _fail(configuration, debts, f"stopped by the time limit, of which {slowest} took {seconds:.0f} s")


def _fail(configuration: Configuration, debts: Sequence[Debt], problem: str) -> None:
    for debt in debts:
        debt.outcome.note(TickerRun.Status.FAILED, f"{configuration.algorithm_id}: {problem}")


def _words_of(error: Exception) -> str:
    try:
        return str(error)
    except Exception:
        logger.exception("an algorithm's error cannot be put into words")
        return "(without words)"


def _add(configuration: Configuration, debt: Debt, judged: list[Verdict]) -> None:
    """Adds the judgements, oldest first, each with what stood on the candle before."""
    previous = debt.previous
    if previous is None:
        previous = judged.pop(0).signal
    outcome, left = debt.outcome, len(judged)
    for one in judged:
        left -= 1
        signal, closed_at_ms = one.signal, one.candle_closed_at_ms
        assert closed_at_ms is not None  # only candles that exist are judged
        is_call = signal is not DO_NOTHING and signal is not previous
        outcome.judgements.append(
            Judgement(configuration, outcome.ticker_id, one, previous, from_ms(closed_at_ms), is_call, left == 0)
        )
        previous = signal


_SIGNALS = {signal.value: signal for signal in Signal}

FIND_LATEST = Statement(
    "find_latest",
    """
SELECT configuration_id, ticker_id, (date_part('epoch', candle_closed_at) * 1000)::bigint, signal
FROM signals_latestsignal WHERE configuration_id = ANY(%(configurations)s) AND ticker_id = ANY(%(tickers)s)
""",
    {"configurations": "bigint[]", "tickers": "bigint[]"},
)


def load_latest(*, configuration_ids: Sequence[int], ticker_ids: Sequence[int]) -> LatestSignals:
    """The newest verdicts of these configurations on these tickers."""
    with connection.cursor() as cursor:
        FIND_LATEST.execute(cursor, {"configurations": list(configuration_ids), "tickers": list(ticker_ids)})
        return {
            (configuration_id, ticker_id): Known(closed_at_ms, _SIGNALS[signal])
            for configuration_id, ticker_id, closed_at_ms, signal in cursor.fetchall()
        }
