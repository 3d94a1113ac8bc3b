"""The shape of an algorithm: data, lines and a rule over them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.candles import MAX_LOOKBACK, Candles, Float64s
from engine.compare import Bools
from engine.parameters import Parameter, ParameterError, Parameters, checked_parameters

Lines = tuple[Float64s, ...]

ID_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Algorithm:
    """A trading rule.

    - `lines(candles, parameters)`: the indicator lines, float64 arrays as long as the candles, NaN where undefined. The
      first one is the value (`value_label`), which explains the signals.
    - `rule(candles, lines, parameters)`: entries and exits, two boolean arrays of the lines' shape. An element may
      depend on its own candle and the last few before it, such as the last that was not tied: it is shown the newest 100
      at most (engine.evaluate.RULE_SPAN). Time is the last axis: a verdict is asked of many tickers at once, and then
      every array has a leading axis of them, so nothing may be taken along the first (no np.roll, no len).
    - `takes_many`: `lines` may be given many tickers at once, too, time being the last axis. For lines that a loop of
      their own follows through time: one ticker after the other is quicker for TA-Lib's.
    - `lookback(parameters)`: candles a verdict needs, its own included, so that older ones change nothing above 1e-9.
    - `ordered`: groups of parameter names whose values must grow from left to right, such as (("fast", "slow"),).
    - `version`: to be raised whenever the same candles and parameters may give another verdict.
    """

    id: str
    name: str
    description: str
    version: int
    value_label: str
    parameters: tuple[Parameter, ...]
    lookback: Callable[[Parameters], int]
    lines: Callable[[Candles, Parameters], Lines]
    rule: Callable[[Candles, Lines, Parameters], tuple[Bools, Bools]]
    ordered: tuple[tuple[str, ...], ...] = ()
    takes_many: bool = False

    def __post_init__(self) -> None:
        if not ID_PATTERN.fullmatch(self.id):
            raise ValueError(f"an algorithm's id is a lower-case word such as ema_cross, not {self.id!r}")
        self.parameters_from({})

    def signals(self, candles: Candles, parameters: Parameters) -> tuple[Bools, Bools]:
        """Entries and exits: two boolean arrays as long as the candles."""
        return self.rule(candles, self.lines(candles, parameters), parameters)

    def value(self, candles: Candles, parameters: Parameters) -> Float64s:
        """The line that explains the signals: a float64 array as long as the candles, NaN where it is undefined."""
        return self.lines(candles, parameters)[0]

    def parameters_from(self, given: Mapping[str, object]) -> dict[str, int | float | str]:
        """Complete parameters: the given values, checked, and the defaults of the others.

        Raises ParameterError for unknown names, wrong types, NaN, values out of range or out of order, and for
        parameters that need more candles than the store keeps; the message states what is allowed.
        """
        values = checked_parameters(self.parameters, self.ordered, given)
        needed = self.lookback(values)
        if not 1 <= needed <= MAX_LOOKBACK:
            raise ParameterError(
                f"these parameters need {needed} candles, but a verdict may look back at {MAX_LOOKBACK}: "
                "choose shorter periods"
            )
        return values
