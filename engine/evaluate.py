"""One verdict on one candle: the function that the sweep, replay and execute_algorithm share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import talib

from engine.algorithm import Algorithm, Lines
from engine.candles import Candles
from engine.compare import Bools
from engine.parameters import Parameters

# What fits into the column that keeps it.
MAX_REASON = 80

Int8s = npt.NDArray[np.int8]


class Signal(StrEnum):
    """What a verdict says to a trader."""

    BUY = "BUY"
    SELL = "SELL"
    DO_NOTHING = "DO NOTHING"


class SignalShapeError(ValueError):
    """An algorithm answered with arrays that are not as long as its candles. Remedy: mend the algorithm."""


@dataclass(frozen=True, slots=True)
class Verdict:
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
    """The candles one verdict rests on, their digest, and why they cannot be computed on (empty if they can)."""

    candles: Candles
    digest: bytes
    fault: str


# Windows already cut, checked and hashed, by the candles they come from, their end and their length. A dict that lives
# as long as one task: twelve configurations on one ticker need two or three windows.
WindowCache = dict[tuple[Candles, int, int], Window]


def verdict(
    algorithm: Algorithm,
    parameters: Parameters,
    candles: Candles,
    end: int | None = None,
    cache: WindowCache | None = None,
) -> Verdict:
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
    window = _window(candles, end, algorithm.lookback(parameters), cache)
    if window.fault:
        return _unable(window, window.fault)
    lines = algorithm.lines(window.candles, parameters)
    entries, exits = _signals(algorithm, parameters, window.candles, lines)
    value = float(lines[0][-1])
    is_entry, is_exit = bool(entries[-1]), bool(exits[-1])
    if not (is_entry or is_exit) and not math.isfinite(value):
        return _unable(window, f"{algorithm.value_label[:40]} is undefined: too little movement or volume")
    return Verdict(
        signal=Signal.BUY if is_entry else Signal.SELL if is_exit else Signal.DO_NOTHING,
        is_entry=is_entry,
        is_exit=is_exit,
        value=_finite(value),
        price=float(window.candles.close[-1]),
        reason="",
        candle_closed_at_ms=_closed_at_ms(window.candles),
        candles_digest=window.digest,
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
    if not len(entries) == len(exits) == len(lines[0]) == len(candles):
        raise SignalShapeError(
            f"{algorithm.id} gave {len(entries)} entries, {len(exits)} exits and {len(lines[0])} values "
            f"for {len(candles)} candles"
        )
    return entries, exits


def _window(candles: Candles, end: int, lookback: int, cache: WindowCache | None) -> Window:
    key = (candles, end, lookback)
    if cache is not None and key in cache:
        return cache[key]
    part = candles.window(end, lookback)
    window = Window(part, part.digest(), _fault(part, lookback))
    if cache is not None:
        cache[key] = window
    return window


def _unable(window: Window, reason: str) -> Verdict:
    candles = window.candles
    return Verdict(
        signal=Signal.DO_NOTHING,
        is_entry=False,
        is_exit=False,
        value=None,
        price=_finite(float(candles.close[-1])) if len(candles) else None,
        reason=reason[:MAX_REASON],
        candle_closed_at_ms=_closed_at_ms(candles),
        candles_digest=window.digest,
    )


def _fault(candles: Candles, lookback: int) -> str:
    """Why no verdict can be computed on this window; empty where one can."""
    if len(candles) == 0:
        return "no candles"
    if len(candles) < lookback:
        return f"warming up: {len(candles)} of {lookback} candles"
    lowest = candles.low.min()
    # Plain dot products, the fastest look at a whole column: finite exactly where all its values are.
    if not all(math.isfinite(np.dot(column, column)) for column in candles.columns) or lowest <= 0:
        return "candle values are not finite, or a price is not above zero"
    steps = candles.open_time[1:] - candles.open_time[:-1]
    wrong = np.flatnonzero(steps != candles.length_ms)
    if len(wrong):
        return _gap(candles, int(wrong[-1]))
    # One candle alone cannot move; an algorithm that looks at one candle only may still judge it.
    if lookback > 1 and candles.high.max() == lowest:
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


def _closed_at_ms(candles: Candles) -> int | None:
    if len(candles) == 0 or not np.isfinite(candles.open_time[-1]):
        return None
    return int(candles.open_time[-1]) + candles.length_ms


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
