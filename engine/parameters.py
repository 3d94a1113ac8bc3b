"""What a trader may turn on an algorithm, and the refusal of everything else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, Literal

# Complete and checked parameter values by name: an int, float or str each, as `Parameter.kind` says.
Parameters = Mapping[str, Any]


class ParameterError(ValueError):
    """Parameters that an algorithm refuses; the message says what it would accept. Remedy: change the parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One setting of an algorithm: `minimum` and `maximum` are both allowed, `step` is what a form's arrows add."""

    name: str
    label: str
    kind: Literal["int", "float", "choice"]
    default: int | float | str
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    help: str = ""

    @property
    def allowed(self) -> str:
        """The allowed values in words, as error messages and forms show them."""
        if self.kind == "choice":
            return f"one of {', '.join(self.choices)}"
        noun = "a whole number" if self.kind == "int" else "a number"
        return f"{noun} from {self.minimum:g} to {self.maximum:g}"

    def checked(self, value: object) -> int | float | str:
        """The value in its one canonical type (a float parameter given 2 becomes 2.0), so equal settings hash equally.

        Raises ParameterError for a wrong type, NaN, infinity and values out of range.
        """
        if self.kind == "choice":
            if isinstance(value, str) and value in self.choices:
                return value
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            is_of_kind = self.kind == "float" or isinstance(value, int)
            if is_of_kind and self.minimum <= value <= self.maximum:  # type: ignore[operator]  # see __post_init__
                return value if self.kind == "int" else float(value)
        raise ParameterError(f"{self.name} must be {self.allowed}, not {value!r}")

    def __post_init__(self) -> None:
        if self.kind == "choice":
            if not self.choices:
                raise ParameterError(f"{self.name} needs its choices")
        elif self.minimum is None or self.maximum is None or self.minimum > self.maximum:
            raise ParameterError(f"{self.name} needs a minimum and a maximum")
        self.checked(self.default)


def checked_parameters(
    declared: Sequence[Parameter], ordered: Sequence[tuple[str, ...]], given: Mapping[str, object]
) -> dict[str, int | float | str]:
    """Every declared parameter with its given or default value, in the order of declaration.

    `ordered` names parameters that must grow strictly from left to right. Raises ParameterError for an unknown name, for
    what `Parameter.checked` refuses and for values out of order.
    """
    names = [parameter.name for parameter in declared]
    for name in given:
        if name not in names:
            similar = get_close_matches(str(name), names, n=1)
            hint = f" (did you mean {similar[0]}?)" if similar else ""
            raise ParameterError(f"unknown parameter {name}{hint}; allowed: {', '.join(names) or 'none'}")
    values = {parameter.name: parameter.checked(given.get(parameter.name, parameter.default)) for parameter in declared}
    for group in ordered:
        for smaller, larger in pairwise(group):
            if not values[smaller] < values[larger]:  # type: ignore[operator]  # both are numbers
                raise ParameterError(
                    f"{smaller} must be smaller than {larger}, not {values[smaller]:g} and {values[larger]:g}"
                )
    return values
