"""A simulated exchange that speaks Binance's wire protocol, so that any real client works against it unchanged."""

from __future__ import annotations

from exchanges.simulator.config import SimulatorConfig
from exchanges.simulator.replay import UnusableRecording
from exchanges.simulator.server import Simulator, ThreadedSimulator, running, running_in_thread, serve

__all__ = [
    "Simulator",
    "SimulatorConfig",
    "ThreadedSimulator",
    "UnusableRecording",
    "running",
    "running_in_thread",
    "serve",
]
