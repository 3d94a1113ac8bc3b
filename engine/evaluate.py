"""Verdicts on candles: the function that the sweep, replay and execute_algorithm share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.algorithm import Algorithm, Lines
from engine.candles import Candles, stack
from engine.compare import Bools
from engine.parameters import Parameters
from engine.ta import talib

# What fits into the column that keeps it.
MAX_REASON = 80
# A rule sees the last so many candles of its lines: what it decides rests on the last few (engine.lookback.TIES).
RULE_SPAN = 100
# From so many windows on, an algorithm that can is asked for the lines of all at once: a step over all of them costs numpy
# what it costs for one.
MANY = 12

Int8s = npt.NDArray[np.int8]


class Signal(StrEnum):
    """What a verdict says to a trader."""

    BUY = "BUY"
    SELL = "SELL"
    DO_NOTHING = "DO NOTHING"


class SignalShapeError(ValueError):
    """An algorithm answered with arrays that are not as long as its candles. Remedy: mend the algorithm."""


class Verdict(NamedTuple):
    """What an algorithm says about one closed candle.

    `value` is the algorithm's line at that candle (None where undefined), `price` the candle's close, `reason` why it is
    DO NOTHING although nothing was computed (else empty; at most 80 characters), `candle_closed_at_ms` milliseconds
    since 1970 UTC (None without a candle), `candles_digest` the 16 bytes that identify exactly the candles it rests on.
    """

    signal: Signal
    is_entry: bool
    is_exit: bool
    value: float | None
    price: float | None
    reason: str
    candle_closed_at_ms: int | None
    candles_digest: bytes


@dataclass(frozen=True, slots=True)
class Window:
    """The candles one verdict rests on.

    `digest` identifies them, `fault` says why they cannot be computed on (empty if they can), `closed_at_ms` when the
    newest of them closed (milliseconds since 1970 UTC).
    """

    candles: Candles
    digest: bytes
    fault: str
    closed_at_ms: int | None


class Panel:
    """The windows of `lookback` candles that end before an index of their series (fewer where the series starts later).

    They are of one timeframe, of one ticker or many, and judged together. `sound` are those without a fault, `stacked`
    their candles, `seen` what a rule sees of these (None where there are none).
    """

    def __init__(self, ends: Sequence[tuple[Candles, int]], lookback: int) -> None:
        parts = [candles.window(end, lookback) for candles, end in ends]
        stacked = Candles.stacked(parts) if min(map(len, parts), default=0) == lookback else None
        if stacked is not None and len(parts) > 1 and _are_sound(stacked):  # the usual case: looked at all together
            self.windows = [_window(part, "") for part in parts]
        else:
            self.windows = [_window(part, _fault(part, lookback)) for part in parts]
        self.sound = [window for window in self.windows if not window.fault]
        if len(self.sound) != len(parts):
            stacked = Candles.stacked([window.candles for window in self.sound]) if self.sound else None
        self.stacked = stacked
        self.seen = None if stacked is None else _newest(stacked, RULE_SPAN)


class Panels:
    """Panels already made, for as long as one task: twelve configurations on a ticker need two or three windows."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, tuple[tuple[Candles, int], ...]], Panel] = {}

    def get(self, ends: Sequence[tuple[Candles, int]], lookback: int) -> Panel:
        """The panel of these (series, index) pairs."""
        key = lookback, tuple(ends)
        if key not in self._made:
            self._made[key] = Panel(ends, lookback)
        return self._made[key]


def _window(part: Candles, fault: str) -> Window:
    newest = float(part.open_time[-1]) if len(part) else math.nan
    closed_at_ms = int(newest) + part.length_ms if math.isfinite(newest) else None
    return Window(part, part.digest(), fault, closed_at_ms)


def _newest(stacked: Candles, count: int) -> Candles:
    """The last candles of each ticker, side by side: what rules look at should fit the processor's cache."""
    if stacked.close.shape[-1] <= count:
        return stacked
    return Candles(stacked.timeframe, *(np.ascontiguousarray(column[:, -count:]) for column in stacked.columns))


def verdict(algorithm: Algorithm, parameters: Parameters, candles: Candles, end: int | None = None) -> Verdict:
    """The verdict on the candle before index `end` (default: the last one).

    It is computed on exactly the `lookback` candles that end there, so it is a pure function of that window: the same to
    the bit live, in replay and whatever else is known. `parameters` come from `Algorithm.parameters_from`. Candles
    that cannot be computed on (none, too few, not finite, with a gap, without any movement) give DO NOTHING with the
    reason. What the algorithm itself raises goes through; answers of the wrong length raise SignalShapeError, an `end`
    beyond the candles IndexError.
    """
    if end is None:
        end = len(candles)
    elif not 0 <= end <= len(candles):
        raise IndexError(f"there is no candle before index {end}: the series has {len(candles)}")
    return verdicts(algorithm, parameters, Panel([(candles, end)], algorithm.lookback(parameters)))[0]


def verdicts(algorithm: Algorithm, parameters: Parameters, panel: Panel) -> list[Verdict]:
    """`verdict` for each window of the panel, in its order.

    The windows must be as long as the algorithm's look-back. What the algorithm raises on any of them goes through.
    """
    if panel.stacked is None or panel.seen is None:
        return [_unable(window, window.fault) for window in panel.windows]
    lines = _lines(algorithm, parameters, panel.sound, panel.stacked)
    entries, exits = _signals(algorithm, parameters, panel.seen, lines)
    last = [array[:, -1].tolist() for array in (entries, exits, lines[0], panel.seen.close)]
    judged = map(partial(_judged, algorithm), panel.sound, *last)
    if len(panel.sound) == len(panel.windows):
        return list(judged)
    return [_unable(window, window.fault) if window.fault else next(judged) for window in panel.windows]


def _lines(algorithm: Algorithm, parameters: Parameters, windows: Sequence[Window], stacked: Candles) -> Lines:
    """What the rule sees of the lines: the last candles of each window's, stacked."""
    if algorithm.takes_many and len(windows) >= MANY:
        lines = algorithm.lines(stacked, parameters)
        _check(algorithm, lines, stacked)
        return tuple(line[:, -RULE_SPAN:] for line in lines)
    each = []
    for window in windows:
        lines = algorithm.lines(window.candles, parameters)
        _check(algorithm, lines, window.candles)
        each.append([line[-RULE_SPAN:] for line in lines])
    return tuple(stack(line) for line in zip(*each, strict=True))


def _check(algorithm: Algorithm, lines: Lines, candles: Candles) -> None:
    for line in lines:
        if line.shape != candles.close.shape:
            raise SignalShapeError(
                f"{algorithm.id} gave a line of {line.shape[-1]} values for {candles.close.shape[-1]} candles"
            )


def _judged(algorithm: Algorithm, window: Window, is_entry: bool, is_exit: bool, value: float, price: float) -> Verdict:
    is_defined = math.isfinite(value)
    if not (is_entry or is_exit or is_defined):
        return _unable(window, f"{algorithm.value_label[:40]} is undefined: too little movement or volume")
    signal = Signal.BUY if is_entry else Signal.SELL if is_exit else Signal.DO_NOTHING
    return Verdict(
        signal, is_entry, is_exit, value if is_defined else None, price, "", window.closed_at_ms, window.digest
    )


def series(algorithm: Algorithm, parameters: Parameters, candles: Candles) -> Int8s:
    """The verdicts on all candles at once, as an array of their length: 1 is BUY, -1 SELL, 0 DO NOTHING.

    For long histories: each run of candles without a gap is computed once, so recursive indicators see more than the
    look-back. `verdict` decides; this differs from it by at most 1 verdict in 10,000, which a test counts.
    """
    lookback = algorithm.lookback(parameters)
    result = np.zeros(len(candles), dtype=np.int8)
    for start, end in _sound_runs(candles):
        if end - start < lookback:
            continue
        run = candles.window(end, end - start)
        entries, exits = _signals(algorithm, parameters, run, algorithm.lines(run, parameters))
        verdicts = np.where(entries, 1, np.where(exits, -1, 0)).astype(np.int8)
        verdicts[: lookback - 1] = 0
        if lookback > 1:  # a window of one candle has nothing to move against
            verdicts[talib.MAX(run.high, lookback) == talib.MIN(run.low, lookback)] = 0
        result[start:end] = verdicts
    return result


def _signals(algorithm: Algorithm, parameters: Parameters, candles: Candles, lines: Lines) -> tuple[Bools, Bools]:
    entries, exits = algorithm.rule(candles, lines, parameters)
    if not entries.shape == exits.shape == lines[0].shape == candles.close.shape:
        raise SignalShapeError(
            f"{algorithm.id} gave {entries.shape[-1]} entries, {exits.shape[-1]} exits and {lines[0].shape[-1]} values "
            f"for {candles.close.shape[-1]} candles"
        )
    return entries, exits


def _unable(window: Window, reason: str) -> Verdict:
    candles = window.candles
    return Verdict(
        signal=Signal.DO_NOTHING,
        is_entry=False,
        is_exit=False,
        value=None,
        price=_finite(float(candles.close[-1])) if len(candles) else None,
        reason=reason[:MAX_REASON],
        candle_closed_at_ms=window.closed_at_ms,
        candles_digest=window.digest,
    )


def _are_sound(stacked: Candles) -> bool:
    """Whether verdicts can be computed on all of these windows: `_fault` finds nothing in any."""
    squares = sum(np.vecdot(column, column) for column in stacked.columns)
    if not np.isfinite(squares).all():
        return False
    lowest, highest = np.minimum.reduce(stacked.low, axis=-1), np.maximum.reduce(stacked.high, axis=-1)
    moves = (highest != lowest) | (stacked.close.shape[-1] == 1)
    steps = stacked.open_time[:, 1:] - stacked.open_time[:, :-1]
    return bool(((lowest > 0) & moves).all() and (steps == stacked.length_ms).all())


def _fault(candles: Candles, lookback: int) -> str:
    """Why no verdict can be computed on this window; empty where one can."""
    if len(candles) == 0:
        return "no candles"
    if len(candles) < lookback:
        return f"warming up: {len(candles)} of {lookback} candles"
    lowest = np.minimum.reduce(candles.low)
    # Plain dot products, the fastest look at a whole column: finite exactly where all its values are.
    squares = 0.0
    for column in candles.columns:
        squares += float(np.dot(column, column))
    if not math.isfinite(squares) or lowest <= 0:
        return "candle values are not finite, or a price is not above zero"
    steps = candles.open_time[1:] - candles.open_time[:-1]
    wrong = np.flatnonzero(steps != candles.length_ms)
    if len(wrong):
        return _gap(candles, int(wrong[-1]))
    # One candle alone cannot move; an algorithm that looks at one candle only may still judge it.
    if lookback > 1 and np.maximum.reduce(candles.high) == lowest:
        return f"the price did not move in the last {lookback} candles"
    return ""


def _gap(candles: Candles, before: int) -> str:
    """The gap after the candle at index `before`, in words."""
    opened, following = float(candles.open_time[before]), float(candles.open_time[before + 1])
    missing = (following - opened) / candles.length_ms - 1
    after = f"after {datetime.fromtimestamp(opened / 1000, UTC):%Y-%m-%dT%H:%MZ}"
    if missing < 1:
        return f"candles are out of step {after}"
    return f"gap in the look-back: {missing:.0f} candle{'' if missing == 1 else 's'} missing {after}"


def _is_sound(candles: Candles) -> Bools:
    """Per candle: every value is a finite number, and no price is zero or less."""
    sound = candles.low > 0
    for column in candles.columns:
        sound &= np.isfinite(column)
    return sound


def _sound_runs(candles: Candles) -> list[tuple[int, int]]:
    """Start and end of every run of sound candles without a gap between them."""
    if len(candles) == 0:
        return []
    sound = _is_sound(candles)
    with np.errstate(invalid="ignore"):  # infinite opening times
        is_first = np.r_[True, np.diff(candles.open_time) != candles.length_ms]
    is_first |= ~sound | np.r_[False, ~sound[:-1]]
    starts = np.flatnonzero(is_first)
    ends = np.r_[starts[1:], len(candles)]
    return [(int(start), int(end)) for start, end in zip(starts, ends, strict=True) if sound[start]]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
