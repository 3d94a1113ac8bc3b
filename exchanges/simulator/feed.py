"""What makes the simulated market move: candles that form and close, sent to whoever listens."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import numpy as np

from engine.candles import MINUTE_MS, Float64s
from exchanges.simulator import payloads
from exchanges.simulator.faults import FaultSwitch
from exchanges.simulator.market import INTERVALS, Market
from exchanges.simulator.streams import MINI_TICKERS, Streams

# Each forming candle is sent every two seconds, as on Binance: an eighth of the markets every quarter of a second.
BEAT_SECONDS = 0.25
SLICES = 8
TICKER_BEATS = 4


class Feed:
    """Publishes the market. Every minute is closed exactly once, in order, before anything of the next is sent."""

    def __init__(self, market: Market, streams: Streams, faults: FaultSwitch) -> None:
        self._market = market
        self._streams = streams
        self._faults = faults
        self._next_minute = market.clock.now_ms() // MINUTE_MS
        self._stepping = asyncio.Lock()

    async def run(self) -> None:
        """Follows the running clock, for ever."""
        beat = 0
        while True:
            now = self._market.clock.now_ms()
            await asyncio.sleep(BEAT_SECONDS - now / 1000 % BEAT_SECONDS)
            now = self._market.clock.now_ms()
            while self._next_minute < now // MINUTE_MS:
                self._close_minute(self._next_minute)
                self._next_minute += 1
            self._streams.publish(self._forming(now, beat % SLICES))
            if beat % TICKER_BEATS == 0:
                await self._publish_tickers(now)
            beat += 1

    async def advance(self, minutes: int) -> int:
        """Closes so many minutes of a standing clock, one after another, and gives the market's new time.

        Returns when every closed candle has been written to every socket.
        """
        async with self._stepping:
            for _ in range(minutes):
                self._market.clock.step()
                self._close_minute(self._next_minute)
                self._next_minute += 1
                await self._streams.flushed()
            now = self._market.clock.now_ms()
            await self._publish_tickers(now)
            return now

    def _close_minute(self, minute: int) -> None:
        closed_ms = (minute + 1) * MINUTE_MS
        for interval, names in self._streams.klines.items():
            if closed_ms % INTERVALS[interval] == 0:
                self._streams.publish(self._closed(interval, names, closed_ms))

    def _closed(self, interval: str, names: dict[int, str], closed_ms: int) -> Iterator[tuple[str, str]]:
        for market, bar in self._bars(interval, names, closed_ms, is_closed=True):
            if self._faults.take_dropped():
                self._streams.dropped_closed += 1
                continue
            yield names[market], self._event(market, interval, bar, is_closed=True)

    def _forming(self, now: int, part: int) -> Iterator[tuple[str, str]]:
        for interval, names in self._streams.klines.items():
            due = {market: name for market, name in names.items() if market % SLICES == part}
            for market, bar in self._bars(interval, due, now, is_closed=False):
                yield due[market], self._event(market, interval, bar, is_closed=False)

    def _bars(
        self, interval: str, names: dict[int, str], now: int, *, is_closed: bool
    ) -> Iterator[tuple[int, Float64s]]:
        """The bars of some markets that stand at `now`, or that closed at `now`."""
        if not names:
            return
        if interval == "1m":
            markets = np.fromiter(names, dtype=np.intp)
            if is_closed:
                bars = self._market.closed_minute(markets, now // MINUTE_MS - 1)
            else:
                bars = self._market.forming_minute(markets, now)
            yield from ((market, bar) for market, bar in zip(names, bars, strict=True) if not math.isnan(bar[1]))
            return
        opened = (now - 1) // INTERVALS[interval] * INTERVALS[interval]
        for market in names:
            bars = self._market.bars(market, interval, opened, None, 1, now)
            if len(bars):
                yield market, bars[0]

    def _event(self, market: int, interval: str, bar: Float64s, *, is_closed: bool) -> str:
        symbol = self._market.listings[market].symbol
        event_ms = self._market.clock.now_ms() + self._faults.now.skew_ms
        return payloads.kline_event(symbol, interval, bar, event_ms, is_closed=is_closed)

    async def _publish_tickers(self, now: int) -> None:
        names = [name for name in MINI_TICKERS if self._streams.is_wanted(name)]
        if not names:
            return
        day = (await asyncio.to_thread(self._market.day, now)).tolist()
        told = now + self._faults.now.skew_ms
        tickers = (payloads.mini_ticker(*pair, told) for pair in zip(self._market.listings, day, strict=True))
        payload = f"[{','.join(tickers)}]"
        self._streams.publish((name, payload) for name in names)
