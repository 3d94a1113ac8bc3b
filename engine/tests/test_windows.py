"""How far a verdict, which sees its look-back only, may differ from the same rule on the whole history: hardly ever."""

from __future__ import annotations

import dataclasses
import random
import sys

import numpy as np
import pytest

from engine.algorithm import Algorithm
from engine.candles import Candles
from engine.evaluate import Int8s, Signal, Verdict, series, verdict
from engine.parameters import Parameters
from engine.registry import all_algorithms, get
from engine.tests.market import generated, long_recordings, recorded

ALGORITHMS = pytest.mark.parametrize("algorithm", all_algorithms(), ids=lambda algorithm: algorithm.id)
NUMBERS = {Signal.BUY: 1, Signal.SELL: -1, Signal.DO_NOTHING: 0}

# Random positions of every history, and positions at which the whole history says BUY or SELL.
POSITIONS = 600
EVENTS = 100
ALLOWED = 1 / 10_000


def histories() -> dict[str, Candles]:
    """Every recorded file that is long enough, and generated markets: lively, thin, almost dead."""
    found = {path.name: recorded(path) for path in long_recordings()}
    for seed, quiet in ((11, 0.03), (12, 0.3), (13, 0.8)):
        found[f"generated, {quiet:.0%} quiet"] = generated(10_000, seed=seed, quiet=quiet)
    return found


def positions_in(whole: Int8s, lookback: int) -> tuple[list[int], list[int]]:
    generator = random.Random(len(whole))
    anywhere, events = range(lookback, len(whole)), np.flatnonzero(whole).tolist()
    return (
        generator.sample(anywhere, min(POSITIONS, len(anywhere))),
        generator.sample(events, min(EVENTS, len(events))),
    )


def verdict_at(algorithm: Algorithm, parameters: Parameters, candles: Candles, position: int) -> Verdict:
    return verdict(algorithm, parameters, candles, end=position + 1)


def differences(algorithm: Algorithm, candles: Candles) -> list[int]:
    """Checked and differing random positions, checked and differing events."""
    parameters = algorithm.parameters_from({})
    whole = series(algorithm, parameters, candles)
    counts: list[int] = []
    for positions in positions_in(whole, algorithm.lookback(parameters)):
        found = [NUMBERS[verdict_at(algorithm, parameters, candles, n).signal] for n in positions]
        counts += [len(positions), int(np.count_nonzero(whole[positions] != found))]
    return counts


@ALGORITHMS
def test_the_look_back_decides_as_the_whole_history_does(
    algorithm: Algorithm, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = np.array([differences(algorithm, candles) for candles in histories().values()])
    checked, differing, events, differing_events = counts.sum(axis=0).tolist()

    with capsys.disabled():
        sys.stdout.write(
            f" {algorithm.id}: {differing} of {checked} verdicts and {differing_events} of {events} calls differ "
        )
    assert checked >= 3 * POSITIONS
    assert events >= EVENTS
    assert differing <= checked * ALLOWED
    # Calls are one verdict in thirty or so: the same rate among all verdicts.
    assert differing_events <= events * 30 * ALLOWED


def test_a_look_back_that_is_too_short_would_be_found_out() -> None:
    short = dataclasses.replace(get("supertrend"), lookback=lambda parameters: 300)

    _, _, events, differing_events = differences(short, generated(10_000, seed=11))

    assert differing_events > events * 30 * ALLOWED


@ALGORITHMS
def test_older_candles_change_the_value_by_less_than_a_billionth(algorithm: Algorithm) -> None:
    """Measured by the price for lines in its unit, by 100 for oscillators: what the value's own scale is."""
    parameters = algorithm.parameters_from({})
    checked = 0
    for candles in histories().values():
        values = algorithm.value(candles, parameters)
        whole = series(algorithm, parameters, candles)
        unit = (
            100.0 if algorithm.value_label in {"RSI", "%K", "ADX", "MFI", "CCI", "EMA gap (%)"} else candles.close[-1]
        )
        for n in positions_in(whole, algorithm.lookback(parameters))[0][:60]:
            value = verdict_at(algorithm, parameters, candles, n).value
            # A long history may be undefined for ever after a hole in it; what the window says is not doubted by that.
            if value is not None and np.isfinite(values[n]):
                assert value == pytest.approx(values[n], rel=1e-9, abs=1e-9 * unit)
                checked += 1
    assert checked > 100
