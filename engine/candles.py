"""Candles as numpy columns: the one shape that live, replay and backtest all compute on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64s = npt.NDArray[np.float64]

MINUTE_MS = 60_000

# Name -> length in milliseconds. Binance names; 2m is ours, built from two 1m candles.
TIMEFRAMES: dict[str, int] = {
    "1m": MINUTE_MS,
    "2m": 2 * MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "1h": 60 * MINUTE_MS,
    "4h": 240 * MINUTE_MS,
}

# The live candle store keeps this many candles per ticker and timeframe.
STORE_SIZE = 1_000
# A sweep may have to write the verdicts of this many candles at once (it was late, or a worker was down).
CATCH_UP = 10
# So a verdict may look back this far at most.
MAX_LOOKBACK = STORE_SIZE - CATCH_UP

DIGEST_BYTES = 16
_PACKED = np.dtype("<f8")


@dataclass(frozen=True, slots=True, eq=False)
class Candles:
    """Closed candles of one ticker, oldest first.

    Every column is a contiguous float64 array of the same length: `open_time` is the candle's opening instant in
    milliseconds since 1970 UTC (exact in a float64), prices are in the quote asset, `volume` in the base asset.
    `stacked` gives those of several tickers at once: then a column is a (tickers, length) array.
    """

    timeframe: str
    open_time: Float64s
    open: Float64s
    high: Float64s
    low: Float64s
    close: Float64s
    volume: Float64s

    @classmethod
    def from_rows(cls, rows: Float64s, timeframe: str) -> Candles:
        """Candles from an (n, 6) array of open_time, open, high, low, close, volume."""
        if timeframe not in TIMEFRAMES:
            raise ValueError(f"unknown timeframe {timeframe!r}; choose one of {', '.join(TIMEFRAMES)}")
        if rows.ndim != 2 or rows.shape[1] != 6:
            raise ValueError(f"candles need an (n, 6) array of float64, not shape {rows.shape}")
        columns = np.ascontiguousarray(rows.T, dtype=np.float64)
        return cls(timeframe, *columns)

    @classmethod
    def from_packed(cls, packed: bytes, timeframe: str) -> Candles:
        """Candles from the bytes of an (n, 6) little-endian float64 array (what the candle store keeps)."""
        return cls.from_rows(np.frombuffer(packed, dtype=_PACKED).reshape(-1, 6), timeframe)

    @classmethod
    def stacked(cls, series: Sequence[Candles]) -> Candles:
        """Candles of several tickers, all of one timeframe and length: time is the last axis of each column."""
        columns = zip(*(one.columns for one in series), strict=True)
        return cls(series[0].timeframe, *(stack(column) for column in columns))

    @property
    def columns(self) -> tuple[Float64s, Float64s, Float64s, Float64s, Float64s, Float64s]:
        """open_time, open, high, low, close, volume."""
        return self.open_time, self.open, self.high, self.low, self.close, self.volume

    @property
    def rows(self) -> Float64s:
        """The same candles as an (n, 6) array of open_time, open, high, low, close, volume."""
        return np.column_stack(self.columns)

    @property
    def length_ms(self) -> int:
        """How long one candle lasts, in milliseconds."""
        return TIMEFRAMES[self.timeframe]

    @property
    def closed_at(self) -> Float64s:
        """The instants the candles closed, in milliseconds since 1970 UTC: opening instant + length."""
        return self.open_time + self.length_ms

    def __len__(self) -> int:
        return len(self.open_time)

    def window(self, end: int, length: int) -> Candles:
        """The `length` candles before index `end` (fewer where the series starts later). Views, not copies."""
        if length >= end == len(self.open_time):
            return self
        part = slice(max(0, end - length), end)
        return Candles(self.timeframe, *(column[part] for column in self.columns))

    def up_to(self, closed_at_ms: float) -> Candles:
        """The candles that closed at or before an instant: the as-of rule."""
        end = int(np.searchsorted(self.open_time, closed_at_ms - self.length_ms, side="right"))
        return self.window(end, end)

    def digest(self) -> bytes:
        """16 bytes of SHA-256 over timeframe and the packed columns: equal digests mean equal candles."""
        sha = hashlib.sha256(self.timeframe.encode())
        for column in self.columns:
            sha.update(np.ascontiguousarray(column, dtype=_PACKED).data)
        return sha.digest()[:DIGEST_BYTES]


def stack(arrays: Sequence[Float64s]) -> Float64s:
    """Arrays of one length as the rows of one: a third of np.stack's time, which looks at each array several times."""
    return arrays[0][np.newaxis] if len(arrays) == 1 else np.array(arrays)


def aggregate(minutes: Candles, timeframe: str) -> Candles:
    """Builds higher candles from 1m candles: one per started period that has at least one minute.

    Source of the rules: the exchange's own higher candles, reproduced exactly from its recorded minutes. A minute
    without trades is a flat zero-volume candle and must not change a higher candle's open, high or low; a period
    whose minutes all had no trades is flat at the first of them. A period whose minutes are all missing gives no candle. The
    caller decides which periods are complete: this function does not drop a last one that may still be forming.
    """
    if minutes.timeframe != "1m":
        raise ValueError(f"higher candles are built from 1m candles, not from {minutes.timeframe}")
    if timeframe not in TIMEFRAMES:
        raise ValueError(f"unknown timeframe {timeframe!r}; choose one of {', '.join(TIMEFRAMES)}")
    if timeframe == "1m" or len(minutes) == 0:
        return Candles(timeframe, *minutes.columns)
    length = TIMEFRAMES[timeframe]
    period = minutes.open_time // length
    traded = minutes.volume > 0
    # Periods with any trade keep only their traded minutes; quiet periods keep all of theirs.
    has_trade = np.isin(period, period[traded])
    kept = traded | ~has_trade
    period = period[kept]
    starts = np.flatnonzero(np.r_[True, period[1:] != period[:-1]])
    ends = np.r_[starts[1:], len(period)] - 1
    return Candles(
        timeframe,
        period[starts] * length,
        minutes.open[kept][starts],
        np.maximum.reduceat(minutes.high[kept], starts),
        np.minimum.reduceat(minutes.low[kept], starts),
        minutes.close[kept][ends],
        _decimal(np.add.reduceat(minutes.volume[kept], starts)),
    )


def _decimal(volume: Float64s) -> Float64s:
    """Sums of volumes without their binary residue, as the exchange would write them: with at most 8 decimals.

    Beyond 2^53 / 10^8 a float64 has fewer decimals than that, and rounding would itself leave a residue.
    """
    return np.where(volume < 2**53 / 1e8, np.round(volume, 8), volume)
