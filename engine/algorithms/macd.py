"""MACD: momentum turning up or down."""

from __future__ import annotations

from engine import indicators
from engine.algorithm import Algorithm, Lines
from engine.candles import Candles
from engine.compare import Bools, crossings
from engine.lookback import ema_lookback, shared_window
from engine.parameters import Parameter, Parameters

VERSION = 1


def lookback(parameters: Parameters) -> int:
    """An EMA (signal) of a difference of EMAs: two passes, the slower of which decides."""
    return shared_window(ema_lookback(max(parameters["slow"], parameters["signal"]), passes=2))


def lines(candles: Candles, parameters: Parameters) -> Lines:
    """The histogram (MACD line - signal line), both of them, all in the unit of the price."""
    macd, signal = indicators.macd(candles.close, parameters["fast"], parameters["slow"], parameters["signal"])
    return macd - signal, macd, signal


def rule(candles: Candles, lines: Lines, parameters: Parameters) -> tuple[Bools, Bools]:
    """Entry: the MACD line crosses above its signal line. Exit: it crosses below."""
    _, macd, signal = lines
    # Both are differences of prices and shrink to rounding noise in a quiet market: a tie is measured by the price.
    return crossings(candles.close + macd, candles.close + signal)


ALGORITHM = Algorithm(
    id="macd",
    name="MACD",
    description=(
        "Moving Average Convergence Divergence is the distance between a fast and a slow moving average, a measure of "
        "momentum; its own average is the signal line. BUY when momentum crosses above the signal line, SELL when it "
        "crosses below. Good at catching turns, noisy when the market goes sideways."
    ),
    version=VERSION,
    value_label="MACD histogram",
    parameters=(
        Parameter(name="fast", label="Fast EMA", kind="int", default=12, minimum=2, maximum=49, step=1, help="Candles"),
        Parameter(name="slow", label="Slow EMA", kind="int", default=26, minimum=3, maximum=50, step=1, help="Candles"),
        Parameter(
            name="signal", label="Signal line", kind="int", default=9, minimum=2, maximum=50, step=1, help="Candles"
        ),
    ),
    ordered=(("fast", "slow"),),
    lookback=lookback,
    lines=lines,
    rule=rule,
)
