"""Verdicts are promises: a change of what an algorithm says needs a new VERSION, and a new line here beside the old one."""

from __future__ import annotations

import hashlib

import pytest

from engine.algorithm import Algorithm
from engine.candles import Candles
from engine.evaluate import series
from engine.registry import all_algorithms
from engine.tests.market import generated, recording

ALGORITHMS = pytest.mark.parametrize("algorithm", all_algorithms(), ids=lambda algorithm: algorithm.id)

# (algorithm, version) -> digest of its verdicts on generated and on recorded candles.
PINNED: dict[tuple[str, int], tuple[str, str]] = {
    ("rsi", 1): ("16d9bdaa412f8bfd", "ed941538a1dd7e5a"),
    ("macd", 1): ("48e799044f1fd960", "21477d28ba3ebba3"),
    ("bollinger", 1): ("91cd20a0131c8184", "de27885df572b8a4"),
    ("ema_cross", 1): ("419787de070bc3d6", "823b6442be6775e4"),
    ("stochastic", 1): ("f6afecf86f33f61e", "62b456c7118decef"),
    ("adx", 1): ("6447957146312dfd", "d386b0037dfec8f5"),
    ("supertrend", 1): ("53063f4fab6e83e5", "5eb95008d897b5b4"),
    ("donchian", 1): ("0ffcbce14e7658c1", "b08ccff33f9a96db"),
    ("ichimoku", 1): ("c5353a2144180686", "f2999196d1b8dbf1"),
    ("vwap", 1): ("657031223d1b2b4b", "1a77ee4c64379daa"),
    ("mfi", 1): ("9e59690acc538c0d", "d5e9c1185e5c854f"),
    ("cci", 1): ("a5bc191005107633", "3b8121f64be3fbe3"),
}


def digest(algorithm: Algorithm, candles: Candles) -> str:
    """The first 16 hexadecimal digits of SHA-256 over the verdicts with default parameters, a byte each."""
    verdicts = series(algorithm, algorithm.parameters_from({}), candles)
    return hashlib.sha256(verdicts.tobytes()).hexdigest()[:16]


def pinned(algorithm: Algorithm) -> tuple[str, str]:
    """An algorithm without a pin fails by showing the digest to pin. Without the recording, pin the first one twice."""
    return PINNED.get((algorithm.id, algorithm.version), ("no pin yet", "no pin yet"))


@ALGORITHMS
def test_verdicts_on_generated_candles_are_those_of_this_version(algorithm: Algorithm) -> None:
    candles = generated(8_000, seed=21, quiet=0.1)

    assert digest(algorithm, candles) == pinned(algorithm)[0]


@ALGORITHMS
def test_verdicts_on_recorded_candles_are_those_of_this_version(algorithm: Algorithm) -> None:
    candles = recording("binance_spot/ETHUSDT_5m_20230316_20230501.csv.gz")
    place = 1
    if candles is None:  # a bare clone
        candles, place = generated(8_000, seed=21, quiet=0.1), 0

    assert digest(algorithm, candles) == pinned(algorithm)[place]


def test_the_candles_themselves_are_pinned() -> None:
    """Where this fails, the generator changed, not the algorithms."""
    assert generated(8_000, seed=21, quiet=0.1).digest().hex() == "35b7296639da90995a149d7aedfeccae"
