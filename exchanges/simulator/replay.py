"""Recorded one-minute candles, played again at another time."""

from __future__ import annotations

import gzip
from datetime import datetime
from pathlib import Path

import numpy as np

from engine.candles import MINUTE_MS, Float64s
from exchanges.simulator.prices import OPEN, Places
from exchanges.simulator.universe import Listing, market_of

WEEK_MINUTES = 7 * 24 * 60
HEADER = "open_time,open,high,low,close,volume"


class UnusableRecording(Exception):
    """A recording cannot be played. Remedy: give another folder, or another instant to start from."""


class RecordedPrices:
    """The candles of `<SYMBOL>_1m_*.csv.gz` files with exact prices and volumes; gaps stay gaps.

    Times move by whole weeks, the same for every market, so that the hour and the weekday stay true.
    """

    def __init__(self, folder: Path, now_minute: int, starts_at: datetime | None, history_minutes: int) -> None:
        files = sorted(folder.glob("*_1m_*.csv.gz"))
        if not files:
            raise UnusableRecording(f"no <SYMBOL>_1m_*.csv.gz in {folder}")
        recorded: dict[str, list[Path]] = {}
        for file in files:
            recorded.setdefault(file.name.partition("_1m_")[0], []).append(file)
        self.listings: list[Listing] = []
        columns = []
        for symbol, parts in recorded.items():
            rows, decimals = _read(parts)
            columns.append(rows)
            self.listings.append(market_of(symbol, float(rows[0, 1]), *decimals))
        first = int(min(rows[0, 0] for rows in columns)) // MINUTE_MS
        last = int(max(rows[-1, 0] for rows in columns)) // MINUTE_MS
        start = first + history_minutes if starts_at is None else int(starts_at.timestamp() // 60)
        if not first <= start <= last:
            raise UnusableRecording(f"{folder} was recorded from minute {first} to {last}; it cannot start at {start}")
        self.shift_minutes = (now_minute - start) // WEEK_MINUTES * WEEK_MINUTES
        self.start_minute = start + self.shift_minutes
        self.first_minute = first + self.shift_minutes
        self.end_minute = last + self.shift_minutes + 1
        self._candles = np.full((len(columns), last - first + 1, 5), np.nan)
        for market, rows in enumerate(columns):
            self._candles[market, rows[:, 0].astype(np.int64) // MINUTE_MS - first] = rows[:, 1:]
        # No market lacks more minutes than this within the recording.
        self.missing_minutes = int(np.isnan(self._candles[:, :, OPEN]).sum(axis=1).max())

    def minutes(self, markets: Places, first: int, number: int) -> Float64s:
        """Open, high, low, close, volume: (s, number, 5); a minute that was not recorded is NaN."""
        candles = np.full((len(markets), number, 5), np.nan)
        begin = max(first, self.first_minute)
        end = min(first + number, self.end_minute)
        if begin < end:
            recorded = self._candles[markets, begin - self.first_minute : end - self.first_minute]
            candles[:, begin - first : end - first] = recorded
        return candles

    def path(self, markets: Places, minute: int) -> Float64s:
        """Within a minute the price visits its low first in even minutes, its high first in odd ones."""
        return np.tile([0.0 if minute % 2 == 0 else 1.0, 0.25, 0.75], (len(markets), 1))


def _read(files: list[Path]) -> tuple[Float64s, tuple[int, int]]:
    """The rows of a market's files in their order of time, and the decimals of its prices and volumes."""
    rows = []
    price_decimals = volume_decimals = 0
    for file in files:
        with gzip.open(file, "rt", encoding="ascii") as text:
            header, *lines = text.read().split()
        if header != HEADER:
            raise UnusableRecording(f"{file} does not begin with {HEADER}")
        cells = [line.split(",") for line in lines]
        price_decimals = max(price_decimals, *(_decimals(cell) for row in cells for cell in row[1:5]))
        volume_decimals = max(volume_decimals, *(_decimals(row[5]) for row in cells))
        rows.append(np.array(cells, dtype=np.float64))
    joined = np.concatenate(rows)
    _, unique = np.unique(joined[:, 0], return_index=True)
    return joined[unique], (price_decimals, volume_decimals)


def _decimals(cell: str) -> int:
    return len(cell.partition(".")[2].rstrip("0"))
