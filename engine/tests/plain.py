"""The indicators once more, straight from their definitions: plain Python, one candle at a time, slow and obvious.

Independent of numpy and TA-Lib; None during warm-up. They check the fast ones on candles that are always at hand.
"""

from __future__ import annotations

from collections.abc import Sequence

Line = list[float | None]


def sma(values: Sequence[float], period: int) -> Line:
    return [None if i < period - 1 else sum(values[i - period + 1 : i + 1]) / period for i in range(len(values))]


def ema(values: Sequence[float], period: int, first: int = 0) -> Line:
    """Seeded with the mean of the `period` values from index `first` on."""
    result: Line = [None] * len(values)
    seed_at = first + period - 1
    if seed_at >= len(values):
        return result
    average = sum(values[first : first + period]) / period
    result[seed_at] = average
    for i in range(seed_at + 1, len(values)):
        average += (values[i] - average) * 2 / (period + 1)
        result[i] = average
    return result


def wilder(values: Sequence[float], period: int, first: int) -> Line:
    """Wilder's average: the mean of the first `period` values from index `first` on, then 1 / period of each new one."""
    result: Line = [None] * len(values)
    seed_at = first + period - 1
    if seed_at >= len(values):
        return result
    average = sum(values[first : first + period]) / period
    result[seed_at] = average
    for i in range(seed_at + 1, len(values)):
        average = (average * (period - 1) + values[i]) / period
        result[i] = average
    return result


def rsi(close: Sequence[float], period: int) -> Line:
    changes = [0.0] + [close[i] - close[i - 1] for i in range(1, len(close))]
    gains = wilder([max(change, 0.0) for change in changes], period, 1)
    losses = wilder([max(-change, 0.0) for change in changes], period, 1)
    return [
        None if gain is None or loss is None or gain + loss == 0 else 100 * gain / (gain + loss)
        for gain, loss in zip(gains, losses, strict=True)
    ]


def macd(close: Sequence[float], fast: int, slow: int, signal: int) -> tuple[Line, Line]:
    quick, sluggish = ema(close, fast, slow - fast), ema(close, slow)
    line = [None if a is None or b is None else a - b for a, b in zip(quick, sluggish, strict=True)]
    signal_line = ema([value or 0.0 for value in line], signal, slow - 1)
    return line, signal_line


def bollinger(close: Sequence[float], period: int, deviations: float) -> tuple[Line, Line, Line]:
    upper: Line = []
    lower: Line = []
    middle = sma(close, period)
    for i, mean in enumerate(middle):
        if mean is None:
            upper.append(None)
            lower.append(None)
            continue
        spread = (sum((value - mean) ** 2 for value in close[i - period + 1 : i + 1]) / period) ** 0.5
        upper.append(mean + deviations * spread)
        lower.append(mean - deviations * spread)
    return upper, middle, lower


def highest(values: Sequence[float], period: int) -> Line:
    return [None if i < period - 1 else max(values[i - period + 1 : i + 1]) for i in range(len(values))]


def lowest(values: Sequence[float], period: int) -> Line:
    return [None if i < period - 1 else min(values[i - period + 1 : i + 1]) for i in range(len(values))]


def midpoint(high: Sequence[float], low: Sequence[float], period: int) -> Line:
    return [
        None if top is None or bottom is None else (top + bottom) / 2
        for top, bottom in zip(highest(high, period), lowest(low, period), strict=True)
    ]


def stochastic(
    high: Sequence[float], low: Sequence[float], close: Sequence[float], period: int, smooth_k: int, smooth_d: int
) -> tuple[Line, Line]:
    raw: Line = []
    for top, bottom, last in zip(highest(high, period), lowest(low, period), close, strict=True):
        raw.append(None if top is None or bottom is None or top == bottom else 100 * (last - bottom) / (top - bottom))
    k = mean_of(raw, smooth_k)
    return k, mean_of(k, smooth_d)


def mean_of(line: Line, period: int) -> Line:
    result: Line = []
    for i in range(len(line)):
        values = [value for value in line[max(0, i - period + 1) : i + 1] if value is not None]
        result.append(sum(values) / period if len(values) == period else None)
    return result


def true_range(high: Sequence[float], low: Sequence[float], close: Sequence[float]) -> list[float]:
    return [high[0] - low[0]] + [
        max(high[i] - low[i], abs(high[i] - close[i - 1]), abs(low[i] - close[i - 1])) for i in range(1, len(close))
    ]


def atr(high: Sequence[float], low: Sequence[float], close: Sequence[float], period: int) -> Line:
    return wilder(true_range(high, low, close), period, 1)


def adx(
    high: Sequence[float], low: Sequence[float], close: Sequence[float], period: int
) -> tuple[list[float], list[float], list[float]]:
    """ADX, +DI, -DI. Seeded with zeros: right once the seed is forgotten."""
    ranges = true_range(high, low, close)
    plus = minus = span = average = 0.0
    result: tuple[list[float], list[float], list[float]] = ([0.0], [0.0], [0.0])
    for i in range(1, len(close)):
        up, down = high[i] - high[i - 1], low[i - 1] - low[i]
        plus += (up if up > down and up > 0 else 0.0) - plus / period
        minus += (down if down > up and down > 0 else 0.0) - minus / period
        span += ranges[i] - span / period
        plus_di, minus_di = (100 * plus / span, 100 * minus / span) if span else (0.0, 0.0)
        total = plus_di + minus_di
        average += ((100 * abs(plus_di - minus_di) / total if total else 0.0) - average) / period
        for line, value in zip(result, (average, plus_di, minus_di), strict=True):
            line.append(value)
    return result


def typical(high: Sequence[float], low: Sequence[float], close: Sequence[float]) -> list[float]:
    return [(top + bottom + last) / 3 for top, bottom, last in zip(high, low, close, strict=True)]


def cci(high: Sequence[float], low: Sequence[float], close: Sequence[float], period: int) -> Line:
    prices = typical(high, low, close)
    result: Line = []
    for i, mean in enumerate(sma(prices, period)):
        if mean is None:
            result.append(None)
            continue
        deviation = sum(abs(price - mean) for price in prices[i - period + 1 : i + 1]) / period
        result.append((prices[i] - mean) / (0.015 * deviation) if deviation else None)
    return result


def mfi(
    high: Sequence[float], low: Sequence[float], close: Sequence[float], volume: Sequence[float], period: int
) -> Line:
    prices = typical(high, low, close)
    result: Line = [None] * len(close)
    for i in range(period, len(close)):
        inflow = outflow = 0.0
        for j in range(i - period + 1, i + 1):
            if prices[j] > prices[j - 1]:
                inflow += prices[j] * volume[j]
            elif prices[j] < prices[j - 1]:
                outflow += prices[j] * volume[j]
        result[i] = 100 * inflow / (inflow + outflow) if inflow + outflow else None
    return result


def vwap(
    high: Sequence[float], low: Sequence[float], close: Sequence[float], volume: Sequence[float], period: int
) -> Line:
    prices = typical(high, low, close)
    result: Line = [None] * len(close)
    for i in range(period - 1, len(close)):
        recent = range(i - period + 1, i + 1)
        traded = sum(volume[j] for j in recent)
        result[i] = sum(prices[j] * volume[j] for j in recent) / traded if traded else None
    return result


def supertrend(
    high: Sequence[float], low: Sequence[float], close: Sequence[float], period: int, multiplier: float
) -> Line:
    """The line, as charting platforms document it: final bands first, then the side of the close."""
    widths = atr(high, low, close, period)
    result: Line = []
    upper = lower = None
    is_up = True
    for i, width in enumerate(widths):
        if width is None:
            result.append(None)
            continue
        basic_upper = (high[i] + low[i]) / 2 + multiplier * width
        basic_lower = (high[i] + low[i]) / 2 - multiplier * width
        if upper is None or lower is None:
            upper, lower = basic_upper, basic_lower
        else:
            upper = basic_upper if basic_upper < upper or close[i - 1] > upper else upper
            lower = basic_lower if basic_lower > lower or close[i - 1] < lower else lower
        is_up = close[i] >= lower if is_up else close[i] > upper
        result.append(lower if is_up else upper)
    return result
