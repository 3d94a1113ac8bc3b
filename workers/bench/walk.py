"""Candles to measure on."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from engine.candles import TIMEFRAMES, Float64s


def walk(seed: int, count: int, timeframe: str, until: datetime) -> Float64s:
    """A random walk of `count` candles, (count, 6), the last of which closes at `until`."""
    rng = np.random.default_rng(seed)
    length = TIMEFRAMES[timeframe]
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, count)))
    opened = np.concatenate([close[:1], close[:-1]])
    first = until.timestamp() * 1000 - count * length
    return np.column_stack(
        [
            first + np.arange(count) * float(length),
            opened,
            np.maximum(opened, close) * 1.001,
            np.minimum(opened, close) * 0.999,
            close,
            rng.uniform(1, 100, count),
        ]
    )
