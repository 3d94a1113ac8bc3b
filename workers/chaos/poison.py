"""An algorithm that can be poisoned from outside: a plug-in as bad as they come, in the real worker.

Each file in RUN_FOLDER/poison is one dose, named `<kind>-<number>`, and is taken by one evaluation, in whichever process
that runs; the dose `raise-always` stays until it is removed. Without one the algorithm has no opinion.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np

from engine.algorithm import Algorithm, Lines
from engine.candles import Candles
from engine.compare import Bools
from engine.parameters import Parameters

FOLDER = "poison"
FOR_EVER = "raise-always"


class Poisoned(Exception):
    """What the algorithm was told to raise."""


def doses(run_folder: Path) -> Path:
    """Where the doses are."""
    return run_folder / FOLDER


def _take() -> str:
    """The kind of the dose that is ours now; of many processes that see a file, one can remove it."""
    folder = doses(Path(os.environ["RUN_FOLDER"]))
    for dose in sorted(folder.iterdir()) if folder.is_dir() else ():
        if dose.name == FOR_EVER:
            return "raise"
        try:
            dose.unlink()
        except FileNotFoundError:
            continue
        return dose.name.partition("-")[0]
    return ""


def _swallow() -> None:
    kind = _take()
    if kind == "raise":
        raise Poisoned("as it was told to")
    if kind == "exit":
        os.kill(os.getpid(), signal.SIGKILL)
    while kind == "loop":  # not even the soft time limit gets through: only the hard one ends the process
        try:
            while True:
                pass
        except Exception:  # noqa: BLE001, S112
            continue


def lines(candles: Candles, parameters: Parameters) -> Lines:
    """The closing prices."""
    _swallow()
    return (candles.close,)


def rule(candles: Candles, lines: Lines, parameters: Parameters) -> tuple[Bools, Bools]:
    """Never an entry, never an exit."""
    nothing = np.zeros(lines[0].shape, dtype=np.bool_)
    return nothing, nothing


ALGORITHM = Algorithm(
    id="poison",
    name="Poison",
    description="Takes part in a run of chaos, where it raises, never ends or kills its process.",
    version=1,
    value_label="Close",
    parameters=(),
    lookback=lambda parameters: 2,
    lines=lines,
    rule=rule,
)
