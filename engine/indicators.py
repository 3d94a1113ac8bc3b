"""Indicators: float64 arrays in, float64 arrays of the same length out, NaN during warm-up and where undefined.

Prices and volumes are in any unit; periods are in candles. What TA-Lib has comes from TA-Lib (https://ta-lib.org, its
conventions: Wilder's averages and EMAs are seeded with a simple mean, Bollinger uses the population deviation). Where
a market stands still it answers 0 or the rounding residue of its running sums; both would look like an extreme, so here
that is NaN, and no comparison with NaN is ever true.
"""

from __future__ import annotations

import numpy as np

from engine.candles import Float64s
from engine.compare import TOLERANCE, Bools
from engine.ta import talib

UNDER, OVER = 1 - TOLERANCE, 1 + TOLERANCE


def ema(values: Float64s, period: int) -> Float64s:
    """Exponential moving average, weight 2 / (period + 1)."""
    result: Float64s = talib.EMA(values, period)
    return result


def rsi(close: Float64s, period: int) -> Float64s:
    """Relative Strength Index (Wilder 1978), 0 to 100; NaN where the last `period` changes were all zero."""
    result: Float64s = talib.RSI(close, period)
    result[_is_flat(close, close, period + 1)] = np.nan
    return result


def macd(close: Float64s, fast: int, slow: int, signal: int) -> tuple[Float64s, Float64s]:
    """MACD line (fast EMA - slow EMA) and its signal line (EMA of the line), in the unit of the price."""
    line, signal_line, _ = talib.MACD(close, fast, slow, signal)
    return line, signal_line


def bollinger(close: Float64s, period: int, deviations: float) -> tuple[Float64s, Float64s, Float64s]:
    """Upper, middle and lower band: simple mean +- `deviations` population standard deviations."""
    upper, middle, lower = talib.BBANDS(close, period, deviations, deviations)
    return upper, middle, lower


def stochastic(
    high: Float64s, low: Float64s, close: Float64s, period: int, smooth_k: int, smooth_d: int
) -> tuple[Float64s, Float64s]:
    """Slow stochastic %K and %D (Lane), 0 to 100, simple means; NaN where a range of `period` candles was zero."""
    k, d = talib.STOCH(high, low, close, period, slowk_period=smooth_k, slowd_period=smooth_d)
    # A zero range spoils the %K of its own candle and every mean that holds it.
    spoilt = _lasting(_is_flat(high, low, period), smooth_k + smooth_d - 1)
    k[spoilt] = d[spoilt] = np.nan
    return k, d


def adx(high: Float64s, low: Float64s, close: Float64s, period: int) -> Float64s:
    """Average Directional Index (Wilder 1978), 0 to 100."""
    result: Float64s = talib.ADX(high, low, close, period)
    return result


def directional(high: Float64s, low: Float64s, close: Float64s, period: int) -> tuple[Float64s, Float64s]:
    """+DI and -DI (Wilder 1978), 0 to 100."""
    return talib.PLUS_DI(high, low, close, period), talib.MINUS_DI(high, low, close, period)


def atr(high: Float64s, low: Float64s, close: Float64s, period: int) -> Float64s:
    """Average True Range (Wilder 1978), in the unit of the price."""
    result: Float64s = talib.ATR(high, low, close, period)
    return result


def cci(high: Float64s, low: Float64s, close: Float64s, period: int) -> Float64s:
    """Commodity Channel Index (Lambert 1980); NaN where the last `period` candles did not move."""
    result: Float64s = talib.CCI(high, low, close, period)
    result[_is_flat(high, low, period)] = np.nan
    return result


def mfi(high: Float64s, low: Float64s, close: Float64s, volume: Float64s, period: int) -> Float64s:
    """Money Flow Index (Quong, Soudack), 0 to 100; NaN where no money flowed either way in `period` candles."""
    result: Float64s = talib.MFI(high, low, close, volume, period)
    typical = typical_price(high, low, close)
    still = np.ones(len(close), dtype=np.bool_)
    still[1:] = (typical[1:] == typical[:-1]) | (volume[1:] <= 0)
    result[~_lasting(~still, period)] = np.nan
    return result


def typical_price(high: Float64s, low: Float64s, close: Float64s) -> Float64s:
    """Mean of high, low and close."""
    return (high + low + close) / 3


def vwap(high: Float64s, low: Float64s, close: Float64s, volume: Float64s, period: int) -> Float64s:
    """Volume-weighted mean of the typical price over the last `period` candles; NaN where none of them had volume."""
    traded = _rolling_sum(volume, period)
    result = np.full(len(close), np.nan)
    np.divide(_rolling_sum(typical_price(high, low, close) * volume, period), traded, out=result, where=traded > 0)
    return result


def highest_before(high: Float64s, period: int) -> Float64s:
    """Upper Donchian channel: the highest high of the `period` candles before each candle, its own left out."""
    return shifted(talib.MAX(high, period), 1)


def lowest_before(low: Float64s, period: int) -> Float64s:
    """Lower Donchian channel: the lowest low of the `period` candles before each candle, its own left out."""
    return shifted(talib.MIN(low, period), 1)


def midpoint(high: Float64s, low: Float64s, period: int) -> Float64s:
    """Middle of the highest high and the lowest low of the last `period` candles, its own included."""
    result: Float64s = talib.MIDPRICE(high, low, period)
    return result


def ichimoku(
    high: Float64s, low: Float64s, conversion: int, base: int, span: int
) -> tuple[Float64s, Float64s, Float64s, Float64s]:
    """Conversion line, base line, leading span A and B (Hosoda).

    The spans are those that stand over a candle in the chart: computed `base` candles before it, never from its future.
    """
    conversion_line = midpoint(high, low, conversion)
    base_line = midpoint(high, low, base)
    span_a = shifted((conversion_line + base_line) / 2, base)
    span_b = shifted(midpoint(high, low, span), base)
    return conversion_line, base_line, span_a, span_b


def supertrend(
    high: Float64s, low: Float64s, close: Float64s, period: int, multiplier: float, start: int
) -> tuple[Float64s, Float64s]:
    """Supertrend (Seban): the line, and the trend: 1 up, -1 down, NaN before index `start` (at least `period`).

    Of one ticker or of many: time is the last axis.

    Bands stand `multiplier` ATRs around the middle of a candle. The lower one only rises and the upper one only falls
    until the close breaks them; the trend turns down below the lower and up above the upper band, and the line is the
    band that the trend has not broken. A close within the tolerance of a band does not break it.
    """
    if close.ndim == 1:
        width = multiplier * atr(high, low, close, period)
    else:
        width = multiplier * np.array([atr(*columns, period) for columns in zip(high, low, close, strict=True)])
    middle = (high + low) / 2
    line, trend = np.full(close.shape, np.nan), np.full(close.shape, np.nan)
    if close.shape[-1] > start:
        lowers, uppers, closes = ((column[..., start:]) for column in (middle - width, middle + width, close))
        if close.ndim == 1:
            line[start:], trend[start:] = _follow_bands(lowers.tolist(), uppers.tolist(), closes.tolist())
        else:
            line[:, start:], trend[:, start:] = _follow_bands_of_many(lowers, uppers, closes)
    return line, trend


def _follow_bands(lowers: list[float], uppers: list[float], closes: list[float]) -> tuple[list[float], list[float]]:
    """The recursive part of `supertrend`, on lists: plain floats are several times faster than array elements."""
    lines: list[float] = []
    trends: list[float] = []
    lower, upper, before, trend = lowers[0], uppers[0], closes[0], 1.0
    for next_lower, next_upper, close in zip(lowers, uppers, closes, strict=True):
        if next_lower > lower or before < lower:
            lower = next_lower
        if next_upper < upper or before > upper:
            upper = next_upper
        if trend > 0:
            if close < lower * UNDER:
                trend = -1.0
        elif close > upper * OVER:
            trend = 1.0
        lines.append(lower if trend > 0 else upper)
        trends.append(trend)
        before = close
    return lines, trends


def _follow_bands_of_many(lowers: Float64s, uppers: Float64s, closes: Float64s) -> tuple[Float64s, Float64s]:
    """The same for (tickers, candles) arrays, all tickers a step at a time. A test holds the two to the same bits."""
    # The upper band, its sign turned, is a lower band of the turned prices: it only rises until the price falls below.
    given = np.ascontiguousarray(np.stack([lowers, -uppers]).transpose(2, 0, 1))
    price = np.ascontiguousarray(np.stack([closes, -closes]).transpose(2, 0, 1))
    bands = np.empty_like(given)
    is_broken = np.empty(given.shape[1:], dtype=np.bool_)
    band, before = given[0], price[0]
    for step, price_now in zip(range(len(given)), price, strict=True):
        renewed = given[step]
        np.less(before, band, out=is_broken)
        band = np.maximum(renewed, band, out=bands[step])
        np.copyto(band, renewed, where=is_broken)
        before = price_now
    lower, upper = bands[:, 0], -bands[:, 1]
    stays_up = price[:, 0] >= lower * UNDER
    turns_up = price[:, 0] > upper * OVER
    is_up = np.empty_like(stays_up)
    up = np.ones(len(lowers), dtype=np.bool_)
    for step in range(len(given)):
        up = np.where(up, stays_up[step], turns_up[step])
        is_up[step] = up
    return np.where(is_up, lower, upper).T, np.where(is_up, 1.0, -1.0).T


def shifted(values: Float64s, by: int) -> Float64s:
    """The values `by` candles later, NaN before."""
    result = np.full(len(values), np.nan)
    result[by:] = values[: len(values) - by] if by < len(values) else values[:0]
    return result


def _rolling_sum(values: Float64s, period: int) -> Float64s:
    """Sum of the last `period` values, added afresh for every candle: a running sum would leave a residue behind."""
    result = np.full(len(values), np.nan)
    if period <= len(values):
        result[period - 1 :] = np.convolve(values, np.ones(period), "valid")
    return result


def _is_flat(high: Float64s, low: Float64s, period: int) -> Bools:
    """True where the highest high of the last `period` candles is their lowest low."""
    flat: Bools = talib.MAX(high, period) == talib.MIN(low, period)
    return flat


def _lasting(mask: Bools, period: int) -> Bools:
    """True where the mask was True at one of the last `period` candles."""
    lasting: Bools = talib.MAX(mask.astype(np.float64), period) > 0
    return lasting
