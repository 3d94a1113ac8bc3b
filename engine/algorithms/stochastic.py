"""Stochastic: a turn at the edge of the recent range."""

from __future__ import annotations

from engine import indicators
from engine.algorithm import Algorithm, Lines
from engine.candles import Candles
from engine.compare import Bools, above, below, crossings
from engine.lookback import finite_lookback, shared_window
from engine.parameters import Parameter, Parameters

VERSION = 1

# %K and %D are compared on top of their range: at 0 both are rounding residue, and a tie has no size of its own there.
RANGE = 100.0


def lookback(parameters: Parameters) -> int:
    """The range, and the two means over it."""
    return shared_window(finite_lookback(parameters["period"] + parameters["smooth_k"] + parameters["smooth_d"] - 2))


def lines(candles: Candles, parameters: Parameters) -> Lines:
    """%K and %D, 0 to 100."""
    periods = parameters["period"], parameters["smooth_k"], parameters["smooth_d"]
    return indicators.stochastic(candles.high, candles.low, candles.close, *periods)


def rule(candles: Candles, lines: Lines, parameters: Parameters) -> tuple[Bools, Bools]:
    """Entry: %K crosses above %D while %D is below `oversold`. Exit: crosses below while above `overbought`."""
    k, d = lines
    k, d = RANGE + k, RANGE + d
    ups, downs = crossings(k, d)
    return ups & below(d, RANGE + parameters["oversold"]), downs & above(d, RANGE + parameters["overbought"])


ALGORITHM = Algorithm(
    id="stochastic",
    name="Stochastic",
    description=(
        "%K tells where the close stands inside the range of the recent candles, from 0 (at the low) to 100 (at the "
        "high); %D is its average. BUY when %K turns up through %D near the low of the range, SELL when it turns down "
        "through %D near the high. Made for ranging markets."
    ),
    version=VERSION,
    value_label="%K",
    parameters=(
        Parameter(name="period", label="Range", kind="int", default=14, minimum=2, maximum=300, step=1, help="Candles"),
        Parameter(
            name="smooth_k", label="Smooth %K", kind="int", default=3, minimum=1, maximum=50, step=1, help="Candles"
        ),
        Parameter(
            name="smooth_d", label="Smooth %D", kind="int", default=3, minimum=2, maximum=50, step=1, help="Candles"
        ),
        Parameter(name="oversold", label="Oversold", kind="float", default=20.0, minimum=1, maximum=50, step=1),
        Parameter(name="overbought", label="Overbought", kind="float", default=80.0, minimum=50, maximum=99, step=1),
    ),
    ordered=(("oversold", "overbought"),),
    lookback=lookback,
    lines=lines,
    rule=rule,
)
