from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from engine.candles import MAX_LOOKBACK
from engine.registry import Algorithm, UnknownAlgorithm, all_algorithms, get, register

ALGORITHMS = pytest.mark.parametrize("algorithm", all_algorithms(), ids=lambda algorithm: algorithm.id)
# In the order in which pages list them.
EXPECTED = [
    "rsi",
    "macd",
    "bollinger",
    "ema_cross",
    "stochastic",
    "adx",
    "supertrend",
    "donchian",
    "ichimoku",
    "vwap",
    "mfi",
    "cci",
]


def test_the_twelve_algorithms_are_registered() -> None:
    assert [algorithm.id for algorithm in all_algorithms()][:12] == EXPECTED
    assert get("rsi") is all_algorithms()[0]


def test_an_unknown_id_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownAlgorithm, match="no algorithm 'rsy'; known: rsi, macd, bollinger"):
        get("rsy")


def test_an_id_belongs_to_one_algorithm() -> None:
    impostor = dataclasses.replace(get("rsi"), name="Another RSI")

    with pytest.raises(ValueError, match="an algorithm with the id rsi is already registered"):
        register(impostor)

    register(get("rsi"))  # the same one again is no error: modules may be imported twice
    assert get("rsi").name == "RSI"


@pytest.mark.parametrize("wrong", ["", "RSI", "ema-cross", "9ema", "ema cross", "énergie", "a" * 41])
def test_an_id_is_a_lower_case_word(wrong: str) -> None:
    with pytest.raises(ValueError, match="an algorithm's id is a lower-case word"):
        dataclasses.replace(get("rsi"), id=wrong)


@ALGORITHMS
def test_every_algorithm_explains_itself(algorithm: Algorithm) -> None:
    assert 150 < len(algorithm.description) < 600
    assert "BUY" in algorithm.description
    assert "SELL" in algorithm.description
    assert algorithm.value_label
    assert algorithm.version >= 1
    assert all(parameter.label for parameter in algorithm.parameters)


@ALGORITHMS
def test_the_default_look_back_is_well_under_what_the_store_keeps(algorithm: Algorithm) -> None:
    assert algorithm.lookback(algorithm.parameters_from({})) <= MAX_LOOKBACK * 0.6


def test_the_engine_imports_and_computes_without_django() -> None:
    program = """
import importlib.abc, pkgutil, sys

class NoDjango(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"django", "celery", "channels", "redis", "psycopg2", "exchanges", "market"}:
            raise ImportError(f"the engine asked for {name}")

sys.meta_path.insert(0, NoDjango())
import engine
for module in pkgutil.walk_packages(engine.__path__, "engine."):
    if ".tests" not in module.name:
        __import__(module.name)
from engine.evaluate import verdict
from engine.registry import all_algorithms
from engine.tests.market import generated
for algorithm in all_algorithms():
    assert verdict(algorithm, algorithm.parameters_from({}), generated(600)).reason == ""
print("computed", len(all_algorithms()))
"""

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout == f"computed {len(all_algorithms())}\n"
