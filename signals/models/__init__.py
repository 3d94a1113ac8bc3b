from __future__ import annotations

from signals.models.algorithms import Algorithm, AlgorithmPreferences, Configuration, Signal
from signals.models.record import (
    CentralSpan,
    Horizon,
    LedgerEntry,
    Outcome,
    Record,
    RecordCell,
    RecordDay,
)
from signals.models.results import Call, LatestSignal, SignalResult, visible_to
from signals.models.sweeps import CENTRAL, Sweep, TickerRun

__all__ = [
    "CENTRAL",
    "Algorithm",
    "AlgorithmPreferences",
    "Call",
    "CentralSpan",
    "Configuration",
    "Horizon",
    "LatestSignal",
    "LedgerEntry",
    "Outcome",
    "Record",
    "RecordCell",
    "RecordDay",
    "Signal",
    "SignalResult",
    "Sweep",
    "TickerRun",
    "visible_to",
]
