"""What a simulated exchange is asked to be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """The same config and the same instant always give the same market.

    `tickers`: how many markets are listed; ignored by a replay, which lists what was recorded.
    `seed`: another seed is another market.
    `replay`: a folder of recorded `<SYMBOL>_1m_*.csv.gz`, played with their times moved by whole weeks.
    `replay_from`: the recorded instant at which the playing starts; without it, `history_minutes` after the first
    recorded minute, so that a backfill finds that many candles.
    `stepped`: the market's clock stands still, on a whole minute, until it is advanced.
    `start_at`: the market's clock at the start; without it the real clock.
    `weight_limit`: request weight an address may spend in a minute.
    """

    tickers: int = 100
    seed: int = 1
    replay: Path | None = None
    replay_from: datetime | None = None
    history_minutes: int = 1_000
    stepped: bool = False
    start_at: datetime | None = None
    weight_limit: int = 6_000
    host: str = "127.0.0.1"
    port: int = 0

    def __post_init__(self) -> None:
        if self.tickers < 1:
            raise ValueError(f"tickers must be at least 1, not {self.tickers}")
        if self.history_minutes < 0:
            raise ValueError(f"history_minutes must not be negative, not {self.history_minutes}")
        for name, instant in (("start_at", self.start_at), ("replay_from", self.replay_from)):
            if instant is not None and instant.tzinfo is None:
                raise ValueError(f"{name} needs a time zone: {instant}")
