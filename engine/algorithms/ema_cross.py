"""EMA cross: a fast average crosses a slow one."""

from __future__ import annotations

from engine import indicators
from engine.algorithm import Algorithm, Lines
from engine.candles import Candles
from engine.compare import Bools, crossings
from engine.lookback import ema_lookback, shared_window
from engine.parameters import Parameter, Parameters

VERSION = 1


def lookback(parameters: Parameters) -> int:
    """The slow EMA forgets last."""
    return shared_window(ema_lookback(parameters["slow"]))


def lines(candles: Candles, parameters: Parameters) -> Lines:
    """How far the fast EMA stands above the slow one, in percent of it; the two EMAs, in the unit of the price."""
    fast = indicators.ema(candles.close, parameters["fast"])
    slow = indicators.ema(candles.close, parameters["slow"])
    return 100 * (fast - slow) / slow, fast, slow


def rule(candles: Candles, lines: Lines, parameters: Parameters) -> tuple[Bools, Bools]:
    """Entry: the fast EMA crosses above the slow one. Exit: it crosses below."""
    _, fast, slow = lines
    return crossings(fast, slow)


ALGORITHM = Algorithm(
    id="ema_cross",
    name="EMA cross",
    description=(
        "Two exponential moving averages of the close, one fast and one slow. BUY when the fast one crosses above the "
        "slow one (a rise is under way), SELL when it crosses below. Follows trends faithfully and late; expects many "
        "small losses in sideways markets."
    ),
    version=VERSION,
    value_label="EMA gap (%)",
    parameters=(
        Parameter(name="fast", label="Fast EMA", kind="int", default=9, minimum=2, maximum=64, step=1, help="Candles"),
        Parameter(name="slow", label="Slow EMA", kind="int", default=21, minimum=3, maximum=65, step=1, help="Candles"),
    ),
    ordered=(("fast", "slow"),),
    lookback=lookback,
    lines=lines,
    rule=rule,
)
