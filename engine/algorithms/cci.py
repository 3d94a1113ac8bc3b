"""CCI: an unusual distance from the average comes to its end."""

from __future__ import annotations

from engine import indicators
from engine.algorithm import Algorithm, Lines
from engine.candles import Candles
from engine.compare import Bools, crosses_above, crosses_below
from engine.lookback import finite_lookback, shared_window
from engine.parameters import Parameter, Parameters

VERSION = 1


def lookback(parameters: Parameters) -> int:
    """The period."""
    return shared_window(finite_lookback(parameters["period"]))


def lines(candles: Candles, parameters: Parameters) -> Lines:
    """The CCI, mostly between -200 and 200."""
    return (indicators.cci(candles.high, candles.low, candles.close, parameters["period"]),)


def rule(candles: Candles, lines: Lines, parameters: Parameters) -> tuple[Bools, Bools]:
    """Entry: the CCI comes up through -`level`. Exit: it comes down through +`level`."""
    (cci,) = lines
    return crosses_above(cci, -parameters["level"]), crosses_below(cci, parameters["level"])


ALGORITHM = Algorithm(
    id="cci",
    name="CCI",
    description=(
        "The Commodity Channel Index tells how far the price stands from its average, measured by its usual distance. BUY "
        "when it comes back up from an unusual low, SELL when it comes back down from an unusual high. Quick, and lively "
        "on short candles: a higher level gives fewer signals."
    ),
    version=VERSION,
    value_label="CCI",
    parameters=(
        Parameter(
            name="period", label="Period", kind="int", default=20, minimum=2, maximum=400, step=1, help="Candles"
        ),
        Parameter(name="level", label="Level", kind="float", default=100.0, minimum=50, maximum=300, step=5),
    ),
    lookback=lookback,
    lines=lines,
    rule=rule,
)
