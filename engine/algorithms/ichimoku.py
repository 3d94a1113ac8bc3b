"""Ichimoku: the conversion line crosses the base line on the right side of the cloud."""

from __future__ import annotations

import numpy as np

from engine import indicators
from engine.algorithm import Algorithm, Lines
from engine.candles import Candles
from engine.compare import Bools, above, below, crossings
from engine.lookback import finite_lookback, shared_window
from engine.parameters import Parameter, Parameters

VERSION = 1


def lookback(parameters: Parameters) -> int:
    """The span, moved by the base period."""
    return shared_window(finite_lookback(parameters["span"] + parameters["base"]))


def lines(candles: Candles, parameters: Parameters) -> Lines:
    """Base line (Kijun-sen), conversion line, spans A and B over the candle, in the unit of the price."""
    conversion, base, span_a, span_b = indicators.ichimoku(
        candles.high, candles.low, parameters["conversion"], parameters["base"], parameters["span"]
    )
    return base, conversion, span_a, span_b


def rule(candles: Candles, lines: Lines, parameters: Parameters) -> tuple[Bools, Bools]:
    """Entry: conversion crosses above base, the close above the cloud. Exit: crosses below, the close below the cloud."""
    base, conversion, span_a, span_b = lines
    ups, downs = crossings(conversion, base)
    is_over_cloud = above(candles.close, np.maximum(span_a, span_b))
    is_under_cloud = below(candles.close, np.minimum(span_a, span_b))
    return ups & is_over_cloud, downs & is_under_cloud


ALGORITHM = Algorithm(
    id="ichimoku",
    name="Ichimoku",
    description=(
        "A picture of balance: the conversion and base lines are the middles of a short and a medium range, the cloud "
        "is the balance of the past carried forward. BUY when the conversion line crosses above the base line while the "
        "close is above the cloud, SELL when it crosses below while the close is under the cloud. Strong signals only."
    ),
    version=VERSION,
    value_label="Base line",
    parameters=(
        Parameter(
            name="conversion", label="Conversion", kind="int", default=9, minimum=2, maximum=100, step=1, help="Candles"
        ),
        Parameter(
            name="base", label="Base and shift", kind="int", default=26, minimum=3, maximum=200, step=1, help="Candles"
        ),
        Parameter(name="span", label="Span B", kind="int", default=52, minimum=4, maximum=400, step=1, help="Candles"),
    ),
    ordered=(("conversion", "base", "span"),),
    lookback=lookback,
    lines=lines,
    rule=rule,
)
