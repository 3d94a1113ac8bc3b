"""RSI: buy when an oversold market recovers, sell when an overbought one tires."""

from __future__ import annotations

from engine import indicators
from engine.algorithm import Algorithm, Lines
from engine.candles import Candles
from engine.compare import Bools, crosses_above, crosses_below
from engine.lookback import shared_window, wilder_lookback
from engine.parameters import Parameter, Parameters

VERSION = 1


def lookback(parameters: Parameters) -> int:
    """Wilder's averages of gains and losses."""
    return shared_window(wilder_lookback(parameters["period"]))


def lines(candles: Candles, parameters: Parameters) -> Lines:
    """The RSI, 0 to 100."""
    return (indicators.rsi(candles.close, parameters["period"]),)


def rule(candles: Candles, lines: Lines, parameters: Parameters) -> tuple[Bools, Bools]:
    """Entry: the RSI comes up through `oversold`. Exit: it comes down through `overbought`."""
    (rsi,) = lines
    return crosses_above(rsi, parameters["oversold"]), crosses_below(rsi, parameters["overbought"])


ALGORITHM = Algorithm(
    id="rsi",
    name="RSI",
    description=(
        "The Relative Strength Index compares the size of recent rises with the size of recent falls, from 0 (only falls) "
        "to 100 (only rises). BUY when it climbs back out of the oversold zone, SELL when it drops back out of the "
        "overbought zone. At home in ranging markets; in a strong trend it may leave a zone early and often."
    ),
    version=VERSION,
    value_label="RSI",
    parameters=(
        # Wilder's average forgets slowly: 34 is the longest period whose past fits into a window.
        Parameter(name="period", label="Period", kind="int", default=14, minimum=2, maximum=34, step=1, help="Candles"),
        Parameter(name="oversold", label="Oversold", kind="float", default=30.0, minimum=1, maximum=50, step=1),
        Parameter(name="overbought", label="Overbought", kind="float", default=70.0, minimum=50, maximum=99, step=1),
    ),
    ordered=(("oversold", "overbought"),),
    lookback=lookback,
    lines=lines,
    rule=rule,
)
