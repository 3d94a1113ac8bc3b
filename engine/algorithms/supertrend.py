"""Supertrend: a trailing band that the price breaks.

The band has no finite memory: it stands where it was last renewed, however long ago. But two series that begin at different
candles agree for ever once both have renewed it, and it is renewed by every trend that outruns it and by every
break. A market without any trend leaves a range of +- multiplier * ATR like a random walk: with candles 1.6 standard
deviations high, at the rate pi^2 / (8 * 1.6^2 * multiplier^2) = 0.48 / multiplier^2 per candle. After
25 * multiplier^2 candles it is still inside with probability e^-12 = 6e-6. What is left is counted by the test of windows.
"""

from __future__ import annotations

import math

from engine import indicators
from engine.algorithm import Algorithm, Lines
from engine.candles import Candles
from engine.compare import Bools, crossings
from engine.lookback import shared_window, wilder_lookback
from engine.parameters import Parameter, Parameters

VERSION = 1

RENEWAL = 25


def lookback(parameters: Parameters) -> int:
    """Wilder's average of the true range first, then a band that is surely renewed: see above."""
    return shared_window(wilder_lookback(parameters["period"]) + math.ceil(RENEWAL * parameters["multiplier"] ** 2))


def lines(candles: Candles, parameters: Parameters) -> Lines:
    """The Supertrend line, in the unit of the price, and its trend: 1 up, -1 down."""
    period, multiplier = parameters["period"], parameters["multiplier"]
    # The bands begin where the ATR has forgotten its seed: earlier ones would only be renewed.
    start = wilder_lookback(period)
    return indicators.supertrend(candles.high, candles.low, candles.close, period, multiplier, start)


def rule(candles: Candles, lines: Lines, parameters: Parameters) -> tuple[Bools, Bools]:
    """Entry: the trend turns up. Exit: it turns down."""
    _, trend = lines
    return crossings(trend, 0.0)


ALGORITHM = Algorithm(
    id="supertrend",
    name="Supertrend",
    description=(
        "A line trails the price at a distance measured by its usual range (ATR): below it in a rise, above it in a fall, "
        "and it never steps back. BUY when the close breaks above the line, SELL when it breaks below. The line also "
        "serves as a trailing stop."
    ),
    version=VERSION,
    value_label="Supertrend",
    parameters=(
        Parameter(name="period", label="ATR", kind="int", default=10, minimum=2, maximum=30, step=1, help="Candles"),
        Parameter(
            name="multiplier",
            label="Distance",
            kind="float",
            default=3.0,
            minimum=0.5,
            maximum=5,
            step=0.1,
            help="Times the ATR",
        ),
    ),
    lookback=lookback,
    takes_many=True,
    lines=lines,
    rule=rule,
)
