from __future__ import annotations

import math

import pytest

from engine.candles import MAX_LOOKBACK
from engine.parameters import Parameter, ParameterError
from engine.registry import Algorithm, all_algorithms, get

ALGORITHMS = pytest.mark.parametrize("algorithm", all_algorithms(), ids=lambda algorithm: algorithm.id)


@ALGORITHMS
def test_missing_parameters_take_their_defaults(algorithm: Algorithm) -> None:
    defaults = {parameter.name: parameter.default for parameter in algorithm.parameters}

    assert algorithm.parameters_from({}) == defaults
    assert list(algorithm.parameters_from({})) == list(defaults)
    assert algorithm.parameters_from(defaults) == defaults


@ALGORITHMS
def test_unknown_parameters_are_refused_with_the_known_names(algorithm: Algorithm) -> None:
    name = algorithm.parameters[0].name

    with pytest.raises(ParameterError, match=rf"unknown parameter {name}x \(did you mean {name}\?\); allowed: {name}"):
        algorithm.parameters_from({f"{name}x": 3})
    with pytest.raises(ParameterError, match=f"unknown parameter qqq; allowed: {name}"):
        algorithm.parameters_from({"qqq": 3})


@ALGORITHMS
def test_values_out_of_range_are_refused_with_the_allowed_range(algorithm: Algorithm) -> None:
    refused = 0
    for parameter in algorithm.parameters:
        if parameter.kind == "choice":
            wrong: list[object] = ["neither", 1]
        else:
            assert parameter.minimum is not None
            assert parameter.maximum is not None
            wrong = [parameter.minimum - 1, parameter.maximum + 1]
        for value in wrong:
            with pytest.raises(ParameterError) as refusal:
                algorithm.parameters_from({parameter.name: value})
            assert str(refusal.value) == f"{parameter.name} must be {parameter.allowed}, not {value!r}"
            refused += 1
    assert refused == 2 * len(algorithm.parameters)


@ALGORITHMS
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, True, "14", [14], 1e400])
def test_what_is_no_finite_number_is_refused(algorithm: Algorithm, value: object) -> None:
    numeric = [parameter for parameter in algorithm.parameters if parameter.kind != "choice"]

    for parameter in numeric:
        with pytest.raises(ParameterError, match=f"{parameter.name} must be a (whole )?number from .* to .*, not"):
            algorithm.parameters_from({parameter.name: value})


def test_a_whole_number_is_asked_for_and_named_so() -> None:
    with pytest.raises(ParameterError, match=r"^period must be a whole number from 2 to 34, not 14\.5$"):
        get("rsi").parameters_from({"period": 14.5})


def test_a_whole_number_for_a_float_becomes_the_same_float_as_any_other_way_to_write_it() -> None:
    parameters = get("rsi").parameters_from({"oversold": 25})

    assert repr(parameters["oversold"]) == "25.0"


def test_parameters_out_of_order_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"^fast must be smaller than slow, not 21 and 21$"):
        get("ema_cross").parameters_from({"fast": 21})
    with pytest.raises(ParameterError, match="base must be smaller than span, not 60 and 52"):
        get("ichimoku").parameters_from({"base": 60})


def test_parameters_that_need_more_candles_than_the_store_keeps_are_refused() -> None:
    with pytest.raises(ParameterError, match=rf"need \d{{4}} candles, but a verdict may look back at {MAX_LOOKBACK}"):
        get("supertrend").parameters_from({"period": 30, "multiplier": 5})


@ALGORITHMS
def test_every_range_can_be_used_to_its_ends(algorithm: Algorithm) -> None:
    """A range that the look-back refuses anyway would be a lie in every form: all at their smallest, each at its largest.

    (Several at their largest together may still be too much.)
    """
    smallest: dict[str, object] = {}
    for parameter in algorithm.parameters:
        floor = parameter.choices[0] if parameter.kind == "choice" else parameter.minimum
        smallest[parameter.name] = int(floor or 0) if parameter.kind == "int" else floor

    for parameter in algorithm.parameters:
        top = parameter.choices[-1] if parameter.kind == "choice" else parameter.maximum
        largest = int(top or 0) if parameter.kind == "int" else top
        given = smallest | {parameter.name: largest} | _raised(algorithm, parameter.name, largest)
        assert algorithm.lookback(algorithm.parameters_from(given)) <= MAX_LOOKBACK


def _raised(algorithm: Algorithm, name: str, value: object) -> dict[str, object]:
    """Parameters that have to be larger than `name`, raised above its value."""
    assert isinstance(value, (int, float, str))
    for group in algorithm.ordered:
        if name in group and isinstance(value, (int, float)):
            return {larger: value + i + 1 for i, larger in enumerate(group[group.index(name) + 1 :])}
    return {}


def test_a_parameter_that_contradicts_itself_cannot_be_declared() -> None:
    with pytest.raises(ParameterError, match="period needs a minimum and a maximum"):
        Parameter(name="period", label="Period", kind="int", default=14)
    with pytest.raises(ParameterError, match="period must be a whole number from 2 to 9, not 14"):
        Parameter(name="period", label="Period", kind="int", default=14, minimum=2, maximum=9)
    with pytest.raises(ParameterError, match="style needs its choices"):
        Parameter(name="style", label="Style", kind="choice", default="a")
