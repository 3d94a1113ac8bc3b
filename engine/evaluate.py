"""One verdict on one candle: the function that the sweep, replay and execute_algorithm share."""

from __future__ import annotations

from enum import StrEnum


class Signal(StrEnum):
    BUY = "BUY"
    SELL = "SELL"
    DO_NOTHING = "DO NOTHING"
