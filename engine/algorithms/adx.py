"""ADX/DMI: the stronger side takes over while a trend is on."""

from __future__ import annotations

from engine import indicators
from engine.algorithm import Algorithm, Lines
from engine.candles import Candles
from engine.compare import Bools, above, crossings
from engine.lookback import shared_window, wilder_lookback
from engine.parameters import Parameter, Parameters

VERSION = 1


def lookback(parameters: Parameters) -> int:
    """The ADX is Wilder's average of a ratio of Wilder's averages: two passes."""
    return shared_window(wilder_lookback(parameters["period"], passes=2))


def lines(candles: Candles, parameters: Parameters) -> Lines:
    """ADX, +DI and -DI, 0 to 100."""
    adx = indicators.adx(candles.high, candles.low, candles.close, parameters["period"])
    return adx, *indicators.directional(candles.high, candles.low, candles.close, parameters["period"])


def rule(candles: Candles, lines: Lines, parameters: Parameters) -> tuple[Bools, Bools]:
    """Entry: +DI crosses above -DI while the ADX is above `threshold`. Exit: +DI crosses below, likewise."""
    adx, plus, minus = lines
    ups, downs = crossings(plus, minus)
    is_trend = above(adx, parameters["threshold"])
    return ups & is_trend, downs & is_trend


ALGORITHM = Algorithm(
    id="adx",
    name="ADX / DMI",
    description=(
        "+DI and -DI measure how strongly the market pushes up and down, the ADX how strong its trend is, whichever its "
        "direction. BUY when +DI crosses above -DI, SELL when it crosses below, both only while the ADX says that there "
        "is a trend. Few signals, none in a market that drifts."
    ),
    version=VERSION,
    value_label="ADX",
    parameters=(
        # Two passes of Wilder's average: 27 is the longest period whose past fits into a window.
        Parameter(name="period", label="Period", kind="int", default=14, minimum=2, maximum=27, step=1, help="Candles"),
        Parameter(name="threshold", label="Trend from ADX", kind="float", default=20.0, minimum=5, maximum=60, step=1),
    ),
    lookback=lookback,
    lines=lines,
    rule=rule,
)
