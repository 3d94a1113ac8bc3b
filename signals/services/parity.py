"""Parity: a day's verdicts computed again from the stored candles, and compared with what was stored when they were made."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as wall_time
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import connection

from engine import registry
from engine.algorithm import Algorithm
from engine.candles import TIMEFRAMES, Candles
from engine.evaluate import Panels, Verdict, verdicts
from market.candles import load_newest
from market.copying import unhurried
from market.models import CandleRevision, Ticker
from signals.models import Configuration, Signal
from signals.services.evaluation import from_ms, symbols_of, to_ms
from signals.services.scoring import check_outcomes

logger = logging.getLogger(__name__)

# So many differences are told one by one; all are counted.
TOLD = 20
# Tickers judged together: as a sweep does, but not more than fit into the processor's cache.
TOGETHER = 100
MINUTES_PER_DAY = 1440

_STORED = """
SELECT result.configuration_id, result.ticker_id, result.signal, result.value, result.price, result.reason,
       result.candles_digest, result.slot, result.is_call
FROM signals_signalresult AS result
JOIN signals_centralspan AS span ON span.configuration_id = result.configuration_id
    AND result.slot >= span.since AND (span.until IS NULL OR result.slot < span.until)
WHERE result.candle_closed_at = %s AND result.ticker_id = ANY(%s)
ORDER BY 1, 2
"""

# A call says what its verdict said; and each turn to BUY or SELL has one.
_UNLIKE_THEIR_VERDICT = """
SELECT coalesce(call.configuration_id, result.configuration_id), coalesce(call.ticker_id, result.ticker_id),
       coalesce(call.candle_closed_at, result.candle_closed_at),
       CASE WHEN call.id IS NULL THEN 'the verdict turned, and there is no call'
            WHEN result.ticker_id IS NULL THEN 'there is a call and no verdict' ELSE 'call and verdict differ' END
FROM (SELECT * FROM signals_call WHERE candle_closed_at >= %(start)s AND candle_closed_at < %(end)s
      AND ticker_id = ANY(%(tickers)s)) AS call
FULL JOIN (SELECT * FROM signals_signalresult WHERE candle_closed_at >= %(start)s AND candle_closed_at < %(end)s
           AND ticker_id = ANY(%(tickers)s) AND is_call) AS result
    ON (call.configuration_id, call.ticker_id, call.candle_closed_at)
     = (result.configuration_id, result.ticker_id, result.candle_closed_at)
JOIN (SELECT DISTINCT configuration_id FROM signals_centralspan) AS central
    ON central.configuration_id = coalesce(call.configuration_id, result.configuration_id)
WHERE (call.signal, call.price, call.candles_digest) IS DISTINCT FROM (result.signal, result.price, result.candles_digest)
   OR call.value IS DISTINCT FROM result.value
"""

# When the newest of a window's candles came in, and when the sweep that wrote the verdict began: both by our own clock.
_CAME_LATER = """
SELECT (SELECT max(received_at) FROM market_candle WHERE ticker_id = %(ticker)s AND timeframe = %(timeframe)s
        AND open_time >= %(first)s AND open_time < %(closed)s)
       > (SELECT min(started_at) FROM signals_sweep WHERE slot = %(slot)s AND %(ticker)s = ANY(ticker_ids))
"""


class NothingToReplay(LookupError):
    """The day has no verdicts any more, or never had. The message says how long they are kept."""


class Stored(NamedTuple):
    """A row of `signals_signalresult`."""

    configuration_id: int
    ticker_id: int
    signal: str
    value: float | None
    price: float | None
    reason: str
    candles_digest: bytes
    slot: datetime
    is_call: bool


class Difference(NamedTuple):
    """One row that is not what the stored candles give."""

    algorithm: str
    configuration_id: int
    ticker: str
    candle_closed_at: datetime
    what: str


@dataclass(slots=True)
class Replay:
    """What a day's replay found, in verdicts.

    `compared` rests on the same candles and the same version of its algorithm; of these `differing` are not what is
    computed now: the bar is 0. A verdict whose candles are others now is in `other_candles` where one of them came in
    after it was written, and in `differing` where nothing explains it. `holes`: candles between a pair's first and last
    verdict of the day that have none. `revisions`: values the exchange changed later; the candles keep the
    first. `outcomes`, of calls, were scored again; those that differ are in `differing`, too.
    """

    day: date
    compared: int = 0
    differing: int = 0
    other_candles: int = 0
    other_version: int = 0
    holes: int = 0
    revisions: int = 0
    outcomes: int = 0
    seconds: float = 0.0
    differences: list[Difference] = field(default_factory=list)

    def tell(self, difference: Difference) -> None:
        """Counts a difference, and keeps the first few."""
        self.differing += 1
        if len(self.differences) < TOLD:
            self.differences.append(difference)


def replay_day(
    *, day: date, tickers: Collection[str] | None = None, say: Callable[[int, int], None] = lambda done, of: None
) -> Replay:
    """Computes the central feed's verdicts on the candles that closed on `day` (UTC) again, and compares every row.

    `tickers`: these symbols only. `say` hears how many of the day's minutes are done. Raises NothingToReplay.
    """
    started = time.perf_counter()
    start = datetime.combine(day, wall_time(), UTC)
    found = Replay(day)
    history = _History(start, _tickers(tickers))
    for minute in range(MINUTES_PER_DAY):
        closed_at = start + timedelta(minutes=minute)
        _compare(found, history, closed_at)
        say(minute + 1, MINUTES_PER_DAY)
    if not history.seen:
        kept = settings.SIGNAL_RETENTION.days
        raise NothingToReplay(f"there are no verdicts of the central feed on {day}; they are kept for {kept} days")
    found.holes = history.count_holes()
    found.revisions = CandleRevision.objects.filter(
        ticker__in=history.ticker_ids, open_time__gte=start, open_time__lt=start + timedelta(days=1)
    ).count()
    _compare_calls(found, history, start)
    _compare_outcomes(found, history, start)
    found.seconds = round(time.perf_counter() - started, 1)
    return found


def _tickers(symbols: Collection[str] | None) -> list[int]:
    wanted = Ticker.objects.filter(exchange=settings.EXCHANGE)
    if symbols is not None:
        wanted = wanted.filter(symbol__in=symbols)
        unknown = set(symbols) - set(wanted.values_list("symbol", flat=True))
        if unknown:
            raise NothingToReplay(f"there is no ticker {', '.join(sorted(unknown))} on {settings.EXCHANGE}")
    return sorted(wanted.values_list("pk", flat=True))


def as_json(replay: Replay) -> dict[str, Any]:
    """A replay as plain values, for JSON: what the task's result and `replay --json` give."""
    values: dict[str, Any] = msgspec.to_builtins(replay) | {"exchange": settings.EXCHANGE}
    values["differences"] = [
        one._asdict() | {"candle_closed_at": one.candle_closed_at.isoformat()} for one in replay.differences
    ]
    return values


class _History:
    """What a replay knows: configurations, and the candles of a day with those they look back at."""

    def __init__(self, start: datetime, ticker_ids: list[int]) -> None:
        self.start, self.end = start, start + timedelta(days=1)
        self.ticker_ids = ticker_ids
        central = Configuration.objects.filter(central_spans__isnull=False).distinct()
        self.configurations: dict[int, Configuration] = {one.pk: one for one in central}
        self.seen: dict[tuple[int, int], tuple[int, int, int]] = {}  # pair -> first and last close in ms, verdicts
        self._signals: dict[tuple[int, int], tuple[int, str]] = {}  # pair -> the last close in ms and its signal
        self._series: dict[str, dict[int, Candles]] = {}

    def algorithm_of(self, configuration: Configuration) -> Algorithm | None:
        """The algorithm that made a configuration's verdicts, or None where its version is another by now."""
        known = {one.id: one for one in registry.all_algorithms()}.get(configuration.algorithm_id)
        return known if known is not None and known.version == configuration.version else None

    def candles(self, timeframe: str) -> dict[int, Candles]:
        """The candles of the day and those before it that any configuration looks back at, by ticker."""
        if timeframe not in self._series:
            lookback = max(
                algorithm.lookback(one.parameters)
                for one in self.configurations.values()
                if one.timeframe == timeframe and (algorithm := self.algorithm_of(one)) is not None
            )
            count = timedelta(days=1) // timedelta(milliseconds=TIMEFRAMES[timeframe])
            with unhurried():
                self._series[timeframe] = load_newest(
                    self.ticker_ids, timeframe, closed_up_to=self.end, limit=count + lookback
                )
        return self._series[timeframe]

    def see(self, row: Stored, closed_ms: int) -> None:
        """Notes that a pair has a verdict on this candle."""
        pair = row.configuration_id, row.ticker_id
        first, _, count = self.seen.get(pair, (closed_ms, 0, 0))
        self.seen[pair] = first, closed_ms, count + 1

    def signal_before(self, row: Stored, closed_ms: int, length_ms: int) -> str | None:
        """The signal of the candle before, where that was the last one seen; from now on it is this row's."""
        closed_before, signal = self._signals.get((row.configuration_id, row.ticker_id), (0, ""))
        self._signals[row.configuration_id, row.ticker_id] = closed_ms, row.signal
        return signal if closed_before == closed_ms - length_ms else None

    def count_holes(self) -> int:
        """The candles between the first and the last verdict of each pair that have no verdict."""
        holes = 0
        for (configuration_id, ticker_id), (first, last, count) in self.seen.items():
            configuration = self.configurations[configuration_id]
            if self.algorithm_of(configuration) is not None:
                closed_at = self.candles(configuration.timeframe)[ticker_id].closed_at
                low, high = np.searchsorted(closed_at, [first, last + 1])
                holes += max(0, int(high - low) - count)
        return holes


def _compare(found: Replay, history: _History, closed_at: datetime) -> None:
    """Compares all verdicts on the candles that closed at an instant."""
    with connection.cursor() as cursor:
        cursor.execute(_STORED, [closed_at, history.ticker_ids])
        rows = [Stored(*row) for row in cursor.fetchall()]
    panels: dict[int, Panels] = {}  # configurations that look at the same windows share them, as in a sweep
    for configuration_id, of_configuration in groupby(rows, key=itemgetter(0)):
        configuration = history.configurations[configuration_id]
        for number, part in enumerate(_parts(list(of_configuration))):
            _compare_part(found, history, configuration, part, closed_at, panels.setdefault(number, Panels()))


def _parts(rows: list[Stored]) -> Iterator[list[Stored]]:
    for start in range(0, len(rows), TOGETHER):
        yield rows[start : start + TOGETHER]


def _compare_part(
    found: Replay,
    history: _History,
    configuration: Configuration,
    rows: Sequence[Stored],
    closed_at: datetime,
    panels: Panels,
) -> None:
    closed_ms = to_ms(closed_at)
    for row in rows:
        history.see(row, closed_ms)
    algorithm = history.algorithm_of(configuration)
    if algorithm is None:
        found.other_version += len(rows)
        return
    series = history.candles(configuration.timeframe)
    ends = [(series[row.ticker_id], _end(series[row.ticker_id], closed_ms)) for row in rows]
    computed = _judge(algorithm, configuration, ends, panels)
    for row, verdict in zip(rows, computed, strict=True):
        before = history.signal_before(row, closed_ms, TIMEFRAMES[configuration.timeframe])
        if (
            verdict is None
            or verdict.candle_closed_at_ms != closed_ms
            or verdict.candles_digest != bytes(row.candles_digest)
        ):
            _weigh_candles(found, history, configuration, algorithm, row, closed_at)
            continue
        found.compared += 1
        if what := unlike(row, verdict) or _unlike_a_turn(row, before):
            found.tell(_difference(configuration, row.ticker_id, closed_at, what))


def _end(candles: Candles, closed_ms: int) -> int:
    return int(np.searchsorted(candles.open_time, closed_ms - candles.length_ms, side="right"))


def _judge(
    algorithm: Algorithm, configuration: Configuration, ends: Sequence[tuple[Candles, int]], panels: Panels
) -> list[Verdict | None]:
    """The verdicts; None where the algorithm itself fails, which it did not when the stored one was made."""
    parameters = configuration.parameters
    lookback = algorithm.lookback(parameters)
    try:
        return list(verdicts(algorithm, parameters, panels.get(ends, lookback)))
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        if len(ends) == 1:
            logger.exception("%s fails in a replay", configuration)
            return [None]
        return [verdict for end in ends for verdict in _judge(algorithm, configuration, [end], Panels())]


def unlike(row: Stored, verdict: Verdict) -> str:
    """In what a stored row is not the verdict, in words; empty where it is the same to the bit."""
    pairs = {
        "signal": (row.signal, verdict.signal.value),
        "value": (row.value, verdict.value),
        "price": (row.price, verdict.price),
        "reason": (row.reason, verdict.reason),
    }
    return "; ".join(f"{name}: stored {was!r}, computed {now!r}" for name, (was, now) in pairs.items() if was != now)


def _unlike_a_turn(row: Stored, before: str | None) -> str:
    """Whether a row is marked as a call exactly where it turned; empty where it is, or where nobody knows."""
    if before is None:
        return ""
    is_turn = row.signal != Signal.DO_NOTHING and row.signal != before
    return "" if is_turn == row.is_call else f"it turned from {before} to {row.signal}, and is_call is {row.is_call}"


def _weigh_candles(
    found: Replay,
    history: _History,
    configuration: Configuration,
    algorithm: Algorithm,
    row: Stored,
    closed_at: datetime,
) -> None:
    """The candles are others now than those the verdict was made from: because one came later, or for no good reason."""
    series = history.candles(configuration.timeframe)[row.ticker_id]
    end = _end(series, to_ms(closed_at))
    window = series.window(end, algorithm.lookback(configuration.parameters))  # over gaps it reaches further back
    first = from_ms(float(window.open_time[0])) if len(window) else closed_at
    values: dict[str, int | str | datetime] = {
        "ticker": row.ticker_id,
        "timeframe": configuration.timeframe,
        "first": first,
        "closed": closed_at,
        "slot": row.slot,
    }
    with connection.cursor() as cursor:
        cursor.execute(_CAME_LATER, values)
        (came_later,) = cursor.fetchone()
    if came_later:
        found.other_candles += 1
    else:
        found.tell(
            _difference(configuration, row.ticker_id, closed_at, "its candles are others now, and none came later")
        )


def _difference(configuration: Configuration, ticker_id: int, closed_at: datetime, what: str) -> Difference:
    symbol = symbols_of([ticker_id])[ticker_id]
    return Difference(configuration.algorithm_id, configuration.pk, symbol, closed_at, what)


def _compare_calls(found: Replay, history: _History, start: datetime) -> None:
    values: dict[str, datetime | list[int]] = {"start": start, "end": history.end, "tickers": history.ticker_ids}
    with unhurried(), connection.cursor() as cursor:
        cursor.execute(_UNLIKE_THEIR_VERDICT, values)
        for configuration_id, ticker_id, closed_at, what in cursor.fetchall():
            found.tell(_difference(history.configurations[configuration_id], ticker_id, closed_at, what))


def _compare_outcomes(found: Replay, history: _History, start: datetime) -> None:
    """Scores the outcomes again whose exit was on that day."""
    for check in check_outcomes(since=start, until=history.end, ticker_ids=history.ticker_ids):
        found.outcomes += 1
        if check.what and check.configuration_id in history.configurations:
            configuration = history.configurations[check.configuration_id]
            found.tell(_difference(configuration, check.ticker_id, check.candle_closed_at, check.what))
