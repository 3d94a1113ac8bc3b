"""Bollinger Bands: returns from an extreme, or breaks out of the usual range."""

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
    """Middle, upper and lower band, in the unit of the price."""
    upper, middle, lower = indicators.bollinger(candles.close, parameters["period"], parameters["deviations"])
    return middle, upper, lower


def rule(candles: Candles, lines: Lines, parameters: Parameters) -> tuple[Bools, Bools]:
    """Reversal: in through the lower band, in through the upper band. Breakout: out above, back below the middle."""
    middle, upper, lower = lines
    if parameters["style"] == "breakout":
        return crosses_above(candles.close, upper), crosses_below(candles.close, middle)
    return crosses_above(candles.close, lower), crosses_below(candles.close, upper)


ALGORITHM = Algorithm(
    id="bollinger",
    name="Bollinger Bands",
    description=(
        "Two bands follow the average price at a distance of so many standard deviations, wide in wild markets, narrow in "
        "calm ones. Reversal: BUY when the close comes back up through the lower band, SELL when it comes back down "
        "through the upper one. Breakout: BUY when the close breaks above the upper band, SELL when it falls through "
        "the average."
    ),
    version=VERSION,
    value_label="Middle band",
    parameters=(
        Parameter(
            name="period", label="Period", kind="int", default=20, minimum=2, maximum=400, step=1, help="Candles"
        ),
        Parameter(
            name="deviations",
            label="Width",
            kind="float",
            default=2.0,
            minimum=0.5,
            maximum=5,
            step=0.1,
            help="Standard deviations",
        ),
        Parameter(name="style", label="Style", kind="choice", default="reversal", choices=("reversal", "breakout")),
    ),
    lookback=lookback,
    lines=lines,
    rule=rule,
)
