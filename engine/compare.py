"""Comparisons of lines and levels in which a tie is a tie, whatever the last bits of a float say.

Every function takes an array and an array of its shape or a number, and gives a boolean array of that shape. Time is the
last axis: a leading one holds tickers. Two values within a relative 1e-9 of each other are tied: neither above nor below.
Comparisons with NaN are False.

Values whose zero means nothing (a difference of prices, an oscillator at its floor) are to be compared on top of the
price or range they belong to, as in `above(close + macd, close + signal)`: the tolerance follows the size of `b`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.candles import Float64s

Bools = npt.NDArray[np.bool_]

TOLERANCE = 1e-9


def above(a: Float64s, b: Float64s | float) -> Bools:
    """True where a is greater than b by more than the tolerance."""
    return np.greater(a, b + _margin(b))


def below(a: Float64s, b: Float64s | float) -> Bools:
    """True where a is less than b by more than the tolerance."""
    return np.less(a, b - _margin(b))


def crosses_above(a: Float64s, b: Float64s | float) -> Bools:
    """True where a is above b and, when it last was not tied with b, was below.

    So a tie is never a cross: below, tied, above crosses once, on the third candle; above, tied, above not at all. The
    first candle and the first after NaN never cross.
    """
    is_above, is_below, is_tied = _sides(a, b)
    return _turns(is_above, is_below, is_tied)


def crosses_below(a: Float64s, b: Float64s | float) -> Bools:
    """True where a is below b and, when it last was not tied with b, was above. The mirror of `crosses_above`."""
    is_above, is_below, is_tied = _sides(a, b)
    return _turns(is_below, is_above, is_tied)


def crossings(a: Float64s, b: Float64s | float) -> tuple[Bools, Bools]:
    """`crosses_above` and `crosses_below` of the same pair, compared once."""
    is_above, is_below, is_tied = _sides(a, b)
    return _turns(is_above, is_below, is_tied), _turns(is_below, is_above, is_tied)


def _margin(b: Float64s | float) -> Float64s | float:
    return TOLERANCE * (abs(b) if isinstance(b, (int, float)) else np.abs(b))


def _sides(a: Float64s, b: Float64s | float) -> tuple[Bools, Bools, Bools]:
    """Where a is above, below and tied with b: all three False where either is NaN."""
    margin = _margin(b)
    high, low = b + margin, b - margin
    return np.greater(a, high), np.less(a, low), np.less_equal(a, high) & np.greater_equal(a, low)


def _turns(now: Bools, before: Bools, is_tied: Bools) -> Bools:
    """True where `now` holds and the last candle that was not tied had `before`."""
    turns = np.zeros(now.shape, dtype=np.bool_)
    if np.count_nonzero(is_tied):
        # Against the last candle before that was not tied; NaN is not tied, and separates.
        decided = np.maximum.accumulate(np.where(is_tied, 0, np.arange(now.shape[-1])), axis=-1)
        np.logical_and(now[..., 1:], np.take_along_axis(before, decided[..., :-1], axis=-1), out=turns[..., 1:])
    else:
        np.logical_and(now[..., 1:], before[..., :-1], out=turns[..., 1:])
    return turns
