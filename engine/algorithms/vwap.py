"""Rolling VWAP: the close leaves the average price at which volume was traded."""

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
    """The VWAP, in the unit of the price."""
    return (indicators.vwap(candles.high, candles.low, candles.close, candles.volume, parameters["period"]),)


def rule(candles: Candles, lines: Lines, parameters: Parameters) -> tuple[Bools, Bools]:
    """Entry: the close crosses above VWAP + `band` percent. Exit: it crosses below VWAP - `band` percent."""
    (vwap,) = lines
    band = parameters["band"] / 100
    return crosses_above(candles.close, vwap * (1 + band)), crosses_below(candles.close, vwap * (1 - band))


ALGORITHM = Algorithm(
    id="vwap",
    name="Rolling VWAP",
    description=(
        "The volume-weighted average price is what the market really paid over the last candles, here over a rolling "
        "window, as a market that never closes has no daily session. BUY when the close rises above it by the band, SELL "
        "when it falls below it by the band: buyers or sellers have taken over."
    ),
    version=VERSION,
    value_label="VWAP",
    parameters=(
        Parameter(
            name="period", label="Period", kind="int", default=60, minimum=2, maximum=400, step=1, help="Candles"
        ),
        Parameter(
            name="band",
            label="Band",
            kind="float",
            default=0.2,
            minimum=0,
            maximum=10,
            step=0.05,
            help="Percent either side of the VWAP",
        ),
    ),
    lookback=lookback,
    lines=lines,
    rule=rule,
)
