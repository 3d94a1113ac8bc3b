"""MFI: an RSI that weighs its moves by money."""

from __future__ import annotations

from engine import indicators
from engine.algorithm import Algorithm, Lines
from engine.candles import Candles
from engine.compare import Bools, crosses_above, crosses_below
from engine.lookback import finite_lookback, shared_window
from engine.parameters import Parameter, Parameters

VERSION = 1


def lookback(parameters: Parameters) -> int:
    """The period's changes."""
    return shared_window(finite_lookback(parameters["period"] + 1))


def lines(candles: Candles, parameters: Parameters) -> Lines:
    """The MFI, 0 to 100."""
    return (indicators.mfi(candles.high, candles.low, candles.close, candles.volume, parameters["period"]),)


def rule(candles: Candles, lines: Lines, parameters: Parameters) -> tuple[Bools, Bools]:
    """Entry: the MFI comes up through `oversold`. Exit: it comes down through `overbought`."""
    (mfi,) = lines
    return crosses_above(mfi, parameters["oversold"]), crosses_below(mfi, parameters["overbought"])


ALGORITHM = Algorithm(
    id="mfi",
    name="MFI",
    description=(
        "The Money Flow Index is an RSI weighted with volume: how much of the money of the last candles came in on rises, "
        "from 0 to 100. BUY when it climbs back out of the oversold zone, SELL when it drops back out of the overbought "
        "zone. A move on thin volume moves it little."
    ),
    version=VERSION,
    value_label="MFI",
    parameters=(
        Parameter(
            name="period", label="Period", kind="int", default=14, minimum=2, maximum=400, step=1, help="Candles"
        ),
        Parameter(name="oversold", label="Oversold", kind="float", default=20.0, minimum=1, maximum=50, step=1),
        Parameter(name="overbought", label="Overbought", kind="float", default=80.0, minimum=50, maximum=99, step=1),
    ),
    ordered=(("oversold", "overbought"),),
    lookback=lookback,
    lines=lines,
    rule=rule,
)
