"""The simulated market: its clock, and every candle as it stands at that clock's time."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from engine.candles import MINUTE_MS, TIMEFRAMES, Candles, Float64s, aggregate
from exchanges.simulator.config import SimulatorConfig
from exchanges.simulator.prices import CLOSE, HIGH, LOW, OPEN, VOLUME, NoisePrices, Places
from exchanges.simulator.replay import RecordedPrices, UnusableRecording
from exchanges.simulator.universe import Listing, list_markets

# What Binance offers of our timeframes: 2m is ours alone.
INTERVALS = {name: length for name, length in TIMEFRAMES.items() if name != "2m"}

# Trades are numbered by minute, so that their ids rise: a minute has fewer than this.
TRADES_PER_MINUTE = 9_999

HOUR_MINUTES = 60
DAY_HOURS = 24


class Clock:
    """The market's time in ms since 1970 UTC: the real one, one that started elsewhere, or one that stands still."""

    def __init__(self, start_ms: int | None, is_stepped: bool) -> None:
        self.is_stepped = is_stepped
        self._offset_ms = 0 if start_ms is None else start_ms - _real_ms()
        self._stood_ms = (_real_ms() + self._offset_ms) // MINUTE_MS * MINUTE_MS

    def now_ms(self) -> int:
        """What time it is on the market."""
        return self._stood_ms if self.is_stepped else _real_ms() + self._offset_ms

    def start_over(self, start_ms: int) -> None:
        """Moves a standing clock (a replay begins where the recording does)."""
        self._stood_ms = start_ms

    def step(self) -> None:
        """Moves a standing clock by one minute."""
        self._stood_ms += MINUTE_MS


class Prices(Protocol):
    """Where minutes come from: noise or a recording."""

    first_minute: int
    missing_minutes: int

    def minutes(self, markets: Places, first: int, number: int) -> Float64s: ...

    def path(self, markets: Places, minute: int) -> Float64s: ...


class Market:
    """Every listed market. A market is named by its place in `listings`; NaN stands for a minute that is missing."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.clock = Clock(int(config.start_at.timestamp() * 1000) if config.start_at else None, config.stepped)
        self.prices: Prices
        self.listings: Sequence[Listing]
        if config.replay is None:
            self.listings = list_markets(config.tickers, config.seed)
            self.prices = NoisePrices(self.listings, config.seed)
        else:
            now = self.clock.now_ms() // MINUTE_MS
            recorded = RecordedPrices(config.replay, now, config.replay_from, config.history_minutes)
            self.listings = recorded.listings
            self.prices = recorded
            self.clock.start_over(recorded.start_minute * MINUTE_MS)
            if self.clock.now_ms() // MINUTE_MS >= recorded.end_minute:
                raise UnusableRecording(f"{config.replay} is too short: moved by whole weeks it ends before now")
        self.place = {listing.symbol: place for place, listing in enumerate(self.listings)}
        self.everything = np.arange(len(self.listings))
        self._price_scale = 10.0 ** np.array([listing.price_decimals for listing in self.listings])
        self._volume_scale = 10.0 ** np.array([listing.volume_decimals for listing in self.listings])
        self._hours: dict[int, Float64s] = {}
        self._hours_lock = threading.Lock()

    def bars(
        self, market: int, timeframe: str, start_ms: int | None, end_ms: int | None, limit: int, now_ms: int
    ) -> Float64s:
        """An (n, 10) array of bars as Binance's klines endpoint chooses them; the last may still be forming.

        A long request costs no more than its minutes: nothing is walked through from a beginning, and of each octave
        of the noise only the lattice points are hashed (1,000 bars of 4h, 240,000 minutes: about 0.4 s).
        """
        length = INTERVALS[timeframe]
        last = min(now_ms if end_ms is None else end_ms, now_ms) // length
        # A recording's gaps may leave bars out: look so much farther.
        span = limit + self.prices.missing_minutes * MINUTE_MS // length + 1
        first = last - span + 1 if start_ms is None else -(-start_ms // length)
        first = max(first, self.prices.first_minute * MINUTE_MS // length)
        last = min(last, first + span - 1)
        rows = self._minutes(market, first * length // MINUTE_MS, (last + 1) * length // MINUTE_MS, now_ms)
        bars = with_turnover(rows, timeframe)
        return bars[:limit] if start_ms is not None else bars[-limit:]

    def closed_minute(self, markets: Places, minute: int) -> Float64s:
        """The finished candles of one minute: (s, 10)."""
        return _turnover(_with_time(self.prices.minutes(markets, minute, 1)[:, 0], minute))

    def forming_minute(self, markets: Places, now_ms: int) -> Float64s:
        """The candles of the running minute as they stand: (s, 10)."""
        minute, elapsed = divmod(now_ms, MINUTE_MS)
        whole = self.prices.minutes(markets, minute, 1)[:, 0]
        scales = self._price_scale[markets], self._volume_scale[markets]
        so_far = forming(whole, self.prices.path(markets, minute), elapsed / MINUTE_MS, *scales)
        return _turnover(_with_time(so_far, minute))

    def day(self, now_ms: int) -> Float64s:
        """Rolling statistics of every market: (s, 10) bars over the last 24 whole hours and the running one.

        Zeros where nothing is known of a market in that time.
        """
        minute = now_ms // MINUTE_MS
        hour = minute // HOUR_MINUTES
        with self._hours_lock:
            for wanted in range(hour - DAY_HOURS, hour):
                if wanted not in self._hours:
                    self._hours[wanted] = self._total(wanted * HOUR_MINUTES, HOUR_MINUTES)
            self._hours = {kept: self._hours[kept] for kept in range(hour - DAY_HOURS, hour)}
            parts = list(self._hours.values())
        if minute > hour * HOUR_MINUTES:
            parts.append(self._total(hour * HOUR_MINUTES, minute - hour * HOUR_MINUTES))
        parts.append(self.forming_minute(self.everything, now_ms))
        return np.nan_to_num(_join(np.stack(parts, axis=1)))

    def _total(self, first: int, number: int) -> Float64s:
        candles = self.prices.minutes(self.everything, first, number)
        times = np.broadcast_to((first + np.arange(number)) * float(MINUTE_MS), candles.shape[:2])
        rows: Float64s = np.concatenate((times[:, :, None], candles), axis=2)
        return _join(_turnover(rows.reshape(-1, 6)).reshape(*rows.shape[:2], 10))

    def _minutes(self, market: int, first: int, end: int, now_ms: int) -> Float64s:
        """Minutes [first, end) that had begun by `now_ms`, the last as it stands: (n, 6), the missing left out."""
        running, elapsed = divmod(now_ms, MINUTE_MS)
        closed = max(min(end, running) - first, 0)
        candles = self.prices.minutes(np.array([market]), first, closed)[0] if closed else np.empty((0, 5))
        times = (first + np.arange(closed)) * float(MINUTE_MS)
        rows: Float64s = np.column_stack((times, candles))
        # At the very first instant of a minute nothing has been traded in it.
        if first <= running < end and elapsed:
            rows = np.vstack((rows, self.forming_minute(np.array([market]), now_ms)[:, :6]))
        return rows[~np.isnan(rows[:, 1])]


def forming(whole: Float64s, path: Float64s, elapsed: float, price_scale: Float64s, volume_scale: Float64s) -> Float64s:
    """A minute's candles (s, 5) as they stand after a fraction of it: open, one extreme, the other, then close.

    The scales are one over the smallest steps of price and volume of each market.
    """
    is_high_first = path[:, :1] >= 0.5
    extremes = np.where(is_high_first, whole[:, [HIGH, LOW]], whole[:, [LOW, HIGH]])
    times = np.column_stack((np.zeros(len(whole)), path[:, 1:], np.ones(len(whole))))
    values = np.column_stack((whole[:, OPEN], extremes, whole[:, CLOSE]))
    leg = np.clip((times <= elapsed).sum(axis=1) - 1, 0, 2)
    row = np.arange(len(whole))
    at = (elapsed - times[row, leg]) / (times[row, leg + 1] - times[row, leg])
    price = values[row, leg] + (values[row, leg + 1] - values[row, leg]) * at
    price = np.rint(price * price_scale) / price_scale
    passed = np.where(times <= elapsed, values, whole[:, [OPEN]])
    so_far = np.empty_like(whole)
    so_far[:, OPEN] = whole[:, OPEN]
    so_far[:, HIGH] = np.maximum(passed.max(axis=1), price)
    so_far[:, LOW] = np.minimum(passed.min(axis=1), price)
    so_far[:, CLOSE] = price
    so_far[:, VOLUME] = np.ceil(whole[:, VOLUME] * volume_scale * elapsed) / volume_scale
    return so_far


def with_turnover(rows: Float64s, timeframe: str) -> Float64s:
    """Bars (m, 10) of a timeframe from one-minute rows (n, 6)."""
    minutes = _turnover(rows)
    if timeframe == "1m" or not len(rows):
        return minutes
    bars = aggregate(Candles.from_rows(rows, "1m"), timeframe).rows
    period = rows[:, 0] // TIMEFRAMES[timeframe]
    starts = np.flatnonzero(np.r_[True, period[1:] != period[:-1]])
    # An exchange adds decimals, so its sums have no binary dust.
    sums = np.round(np.add.reduceat(minutes[:, VOLUME + 1 :], starts), 8)
    return np.column_stack((bars[:, :5], sums))


def _turnover(rows: Float64s) -> Float64s:
    """Adds to minutes (n, 6) what a recording does not tell: quote volume, trades, and the takers' share of both."""
    open_, high, low, close, volume = rows[:, 1:6].T
    price = (open_ + high + low + close) / 4
    # The nearer the close is to the high, the more the buyers were the ones who took.
    swing = np.where(high > low, high - low, 1.0)
    bought = 0.5 + 0.4 * (close - open_) / swing
    quote_volume = volume * price
    trades = np.where(volume > 0, np.clip(np.ceil(np.sqrt(quote_volume)), 1, TRADES_PER_MINUTE), 0.0)
    extra = np.round((quote_volume, trades, volume * bought, quote_volume * bought), 8)
    return np.column_stack((rows, *extra))


def _with_time(candles: Float64s, minute: int) -> Float64s:
    return np.column_stack((np.full(len(candles), minute * float(MINUTE_MS)), candles))


def _join(bars: Float64s) -> Float64s:
    """One bar of each market from k consecutive ones: (s, k, 10) to (s, 10); NaN where none is known."""
    is_known = ~np.isnan(bars[:, :, 1])
    row = np.arange(len(bars))
    first = is_known.argmax(axis=1)
    last = bars.shape[1] - 1 - is_known[:, ::-1].argmax(axis=1)
    joined: Float64s = bars[row, first]
    joined[:, 0] = bars[:, 0, 0]
    joined[:, 2] = np.fmax.reduce(bars[:, :, 2], axis=1)
    joined[:, 3] = np.fmin.reduce(bars[:, :, 3], axis=1)
    joined[:, 4] = bars[row, last, 4]
    joined[:, 5:] = np.nansum(bars[:, :, 5:], axis=1)
    return joined


def _real_ms() -> int:
    return time.time_ns() // 1_000_000
