from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.compare import above, below, crosses_above, crosses_below, crossings

NAN = float("nan")


@pytest.mark.parametrize("size", [1e-8, 1.0, 64_000.0, 1e12])
def test_values_within_a_billionth_are_tied_at_every_size(size: float) -> None:
    a = np.array([size, size * (1 + 0.9e-9), size * (1 - 0.9e-9), size * (1 + 1.1e-9), size * (1 - 1.1e-9)])

    assert above(a, size).tolist() == [False, False, False, True, False]
    assert below(a, size).tolist() == [False, False, False, False, True]
    assert above(a, np.full(5, size)).tolist() == above(a, size).tolist()


def test_the_tolerance_grows_with_the_size_of_a_negative_level_too() -> None:
    a = np.array([-100.0, -100.0 * (1 + 0.9e-9), -99.9, -100.1])

    assert above(a, -100.0).tolist() == [False, False, True, False]
    assert below(a, -100.0).tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("a", "ups", "downs"),
    [
        ([1.0, 3.0], [False, True], [False, False]),
        ([3.0, 1.0], [False, False], [False, True]),
        ([1.0, 2.0, 3.0], [False, False, True], [False, False, False]),  # through a tie: crossed once it is above
        ([3.0, 2.0, 3.0], [False, False, False], [False, False, False]),  # touched and bounced
        ([1.0, 2.0, 1.0], [False, False, False], [False, False, False]),
        ([1.0, 2.0, 2.0, 2.0, 3.0], [False] * 4 + [True], [False] * 5),
        ([2.0, 2.0, 3.0], [False] * 3, [False] * 3),  # nobody knows where it came from
        ([1.0, NAN, 3.0], [False] * 3, [False] * 3),
        ([1.0, 2.0, NAN, 2.0, 3.0], [False] * 5, [False] * 5),
        ([NAN, 1.0, 3.0, 1.0], [False, False, True, False], [False, False, False, True]),
        ([1.0], [False], [False]),
        ([], [], []),
    ],
)
def test_a_cross_is_a_change_of_sides_and_never_a_tie(a: list[float], ups: list[bool], downs: list[bool]) -> None:
    line = np.array(a)

    assert crosses_above(line, 2.0).tolist() == ups
    assert crosses_below(line, 2.0).tolist() == downs
    assert crosses_above(line, np.full(len(a), 2.0)).tolist() == ups
    assert [side.tolist() for side in crossings(line, 2.0)] == [ups, downs]


def test_nan_is_never_above_or_below_on_either_side() -> None:
    line = np.array([NAN, 1.0, NAN])
    level = np.array([1.0, NAN, NAN])

    assert not above(line, level).any()
    assert not below(line, level).any()
    assert not crosses_above(line, NAN).any()


@given(st.lists(st.sampled_from([1.0, 2.0, 2.0 + 1e-10, 3.0, NAN]), max_size=30))
def test_crosses_are_what_a_walk_over_the_candles_finds(a: list[float]) -> None:
    side_before, ups, downs = 0, [], []
    for value in a:
        side = 0 if value != value else 1 if value > 2.1 else -1 if value < 1.9 else None
        ups.append(side == 1 and side_before == -1)
        downs.append(side == -1 and side_before == 1)
        side_before = side_before if side is None else side

    found_ups, found_downs = crossings(np.array(a), 2.0)

    assert found_ups.tolist() == ups
    assert found_downs.tolist() == downs
