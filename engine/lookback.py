"""How many candles a verdict needs, so that older ones change nothing above 1e-9."""

from __future__ import annotations

import math
from functools import lru_cache

from engine.candles import MAX_LOOKBACK

# The weight that all candles before a window may keep inside a recursive average. Three orders below the promised 1e-9:
# when a wild market turns calm, the old moves are up to a thousand times larger than those that now count.
FORGOTTEN = 1e-12

# Lines made of highs, lows and ranges may be tied for a while. (Recursive ones have hundreds of candles to spare.)
TIES = 20

# Algorithms share these windows, so that the candles of one ticker are checked and hashed two or three times, not twelve.
WINDOW_SIZES = (100, 200, 300, 500, 700, MAX_LOOKBACK)


def shared_window(candles: int) -> int:
    """The smallest shared window that holds so many candles; the number itself where it is beyond all of them."""
    return next((size for size in WINDOW_SIZES if size >= candles), candles)


def finite_lookback(candles: int) -> int:
    """Candles for a rule over lines that depend on the last `candles` candles only.

    A cross is seen against the last candle that was not tied: the one before, or before a tie of up to TIES candles.
    """
    return candles + 1 + TIES


def ema_lookback(period: int, passes: int = 1) -> int:
    """Candles until an exponential average of `period` (weight 2 / (period + 1)) has forgotten what came before.

    `passes` is how often the average is averaged again with the same or a shorter period.
    """
    return _lookback(1 - 2 / (period + 1), period, passes)


def wilder_lookback(period: int, passes: int = 1) -> int:
    """Candles until Wilder's average of `period` (weight 1 / period) has forgotten what came before."""
    return _lookback(1 - 1 / period, period, passes)


@lru_cache(maxsize=1_000)
def _lookback(kept: float, period: int, passes: int) -> int:
    """Candles for the seeds (the mean of the first `period` values, per pass) and for their weight to decay.

    After m candles one pass keeps kept^m of its seed. A second pass over the first keeps at most (m + 1) * kept^m: the
    sum of kept^i * kept^(m - i). One candle more gives the first difference (RSI, true range), one the candle before
    the last, against which a cross is seen.
    """
    if kept <= 0:
        return passes * period + 2
    candles = math.log(FORGOTTEN) / math.log(kept)
    if passes > 1:
        # m solves (m + 1) * kept^m = FORGOTTEN; three rounds of this fixed point are exact to a candle.
        single = candles
        for _ in range(3):
            candles = single + (passes - 1) * math.log(candles + 1) / -math.log(kept)
    return passes * period + math.ceil(candles) + 2
