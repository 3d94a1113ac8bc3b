"""Donchian breakout: a new high, a new low."""

from __future__ import annotations

from engine import indicators
from engine.algorithm import Algorithm, Lines
from engine.candles import Candles
from engine.compare import Bools, crosses_above, crosses_below
from engine.lookback import finite_lookback, shared_window
from engine.parameters import Parameter, Parameters

VERSION = 1


def lookback(parameters: Parameters) -> int:
    """The longer channel, which leaves out its own candle."""
    return shared_window(finite_lookback(max(parameters["entry_period"], parameters["exit_period"]) + 1))


def lines(candles: Candles, parameters: Parameters) -> Lines:
    """The level to break for an entry and the one for an exit, in the unit of the price."""
    return (
        indicators.highest_before(candles.high, parameters["entry_period"]),
        indicators.lowest_before(candles.low, parameters["exit_period"]),
    )


def rule(candles: Candles, lines: Lines, parameters: Parameters) -> tuple[Bools, Bools]:
    """Entry: the close breaks the high of the `entry_period` candles before. Exit: the low of the `exit_period` before."""
    highest, lowest = lines
    return crosses_above(candles.close, highest), crosses_below(candles.close, lowest)


ALGORITHM = Algorithm(
    id="donchian",
    name="Donchian breakout",
    description=(
        "The channel of the highest high and the lowest low of the candles before: the rule of the Turtle traders. BUY "
        "when the close breaks above the highest high, SELL when it breaks below the lowest low of a shorter channel. "
        "Many small losses, now and then a long ride."
    ),
    version=VERSION,
    value_label="Entry level",
    parameters=(
        Parameter(
            name="entry_period",
            label="Entry high",
            kind="int",
            default=20,
            minimum=2,
            maximum=400,
            step=1,
            help="Candles",
        ),
        Parameter(
            name="exit_period", label="Exit low", kind="int", default=10, minimum=2, maximum=400, step=1, help="Candles"
        ),
    ),
    lookback=lookback,
    lines=lines,
    rule=rule,
)
