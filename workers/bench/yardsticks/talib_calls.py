"""The yardstick of `bench sweep`: twelve sets of plain TA-Lib calls on one ticker's candles, with no code of ours.

FROZEN: the bars of `bench sweep` are multiples of what this takes on one core, so it never changes. It computes the
indicators of the twelve algorithms on 500 candles, compares their last two values, and writes nothing anywhere. What TA-Lib
does not have (Supertrend's recursion, VWAP) is written as plainly as one would: a loop, a numpy expression.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import talib

Float64s = npt.NDArray[np.float64]


def judge(high: Float64s, low: Float64s, close: Float64s, volume: Float64s) -> list[int]:
    """Twelve signals (1 buy, -1 sell, 0 nothing) on the last of the candles: float64 arrays of one length."""
    signals = []

    fast, slow = talib.EMA(close, 12), talib.EMA(close, 26)
    signals.append(_crossed(fast, slow))

    rsi = talib.RSI(close, 14)
    signals.append(_left(rsi, 30, 70))

    macd, signal, _ = talib.MACD(close, 12, 26, 9)
    signals.append(_crossed(macd, signal))

    upper, _, lower = talib.BBANDS(close, 20, 2, 2)
    signals.append(_left(close, lower[-1], upper[-1]))

    k, d = talib.STOCH(high, low, close, 14, slowk_period=3, slowd_period=3)
    signals.append(_crossed(k, d))

    adx, plus, minus = talib.ADX(high, low, close), talib.PLUS_DI(high, low, close), talib.MINUS_DI(high, low, close)
    signals.append(_crossed(plus, minus) if adx[-1] > 25 else 0)

    cci = talib.CCI(high, low, close, 20)
    signals.append(_left(cci, -100, 100))

    mfi = talib.MFI(high, low, close, volume, 14)
    signals.append(_left(mfi, 20, 80))

    highest, lowest = talib.MAX(high, 20), talib.MIN(low, 10)
    signals.append(1 if close[-1] > highest[-2] else -1 if close[-1] < lowest[-2] else 0)

    conversion, base, span = talib.MIDPRICE(high, low, 9), talib.MIDPRICE(high, low, 26), talib.MIDPRICE(high, low, 52)
    signals.append(_crossed(conversion, base) if close[-1] > span[-26] else 0)

    typical = (high + low + close) / 3
    vwap = talib.SUM(typical * volume, 20) / talib.SUM(volume, 20)
    signals.append(_crossed(close, vwap))

    signals.append(_supertrend(high, low, close))
    return signals


def _crossed(one: Float64s, other: Float64s) -> int:
    if one[-1] > other[-1] and one[-2] <= other[-2]:
        return 1
    return -1 if one[-1] < other[-1] and one[-2] >= other[-2] else 0


def _left(line: Float64s, lower: float, upper: float) -> int:
    if line[-1] > lower >= line[-2]:
        return 1
    return -1 if line[-1] < upper <= line[-2] else 0


def _supertrend(high: Float64s, low: Float64s, close: Float64s) -> int:
    width = 3 * talib.ATR(high, low, close, 10)
    middle = (high + low) / 2
    lowers, uppers, closes = (middle - width)[10:].tolist(), (middle + width)[10:].tolist(), close[10:].tolist()
    lower, upper, before, trend, turned = lowers[0], uppers[0], closes[0], 1, 0
    for next_lower, next_upper, price in zip(lowers, uppers, closes, strict=True):
        if next_lower > lower or before < lower:
            lower = next_lower
        if next_upper < upper or before > upper:
            upper = next_upper
        now = -1 if price < lower else 1 if price > upper else trend
        trend, turned, before = now, now - trend, price
    return (turned > 0) - (turned < 0)
