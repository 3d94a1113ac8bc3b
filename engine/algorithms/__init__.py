"""The built-in algorithms, one short file each, in the order in which pages list them."""

from __future__ import annotations

from engine.algorithms import (
    adx,
    bollinger,
    cci,
    donchian,
    ema_cross,
    ichimoku,
    macd,
    mfi,
    rsi,
    stochastic,
    supertrend,
    vwap,
)

BUILT_IN = (
    rsi.ALGORITHM,
    macd.ALGORITHM,
    bollinger.ALGORITHM,
    ema_cross.ALGORITHM,
    stochastic.ALGORITHM,
    adx.ALGORITHM,
    supertrend.ALGORITHM,
    donchian.ALGORITHM,
    ichimoku.ALGORITHM,
    vwap.ALGORITHM,
    mfi.ALGORITHM,
    cci.ALGORITHM,
)
