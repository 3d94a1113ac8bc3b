"""One ticker's minutes, strictly in order, and the higher candles they make. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.candles import MINUTE_MS, TIMEFRAMES, Candles, Float64s, aggregate
from market.candles import Block

# Enough minutes for the longest timeframe's candle.
TAIL = max(TIMEFRAMES.values()) // MINUTE_MS
# So many minutes may wait for an earlier one that is being fetched (a backfill of thousands of tickers takes a while).
MAX_WAITING = 1_000

Row = tuple[float, float, float, float, float, float]
"""open_time (ms since 1970 UTC), open, high, low, close, volume"""

NO_ROWS = np.empty((0, 6))


class Series:
    """What is known of one ticker.

    `settled` is the instant up to which every minute is accounted for: it is in, or the exchange has none. `is_busy`
    while somebody fetches older minutes: newer ones wait.
    """

    __slots__ = (
        "_last_open",
        "_tail",
        "_waiting",
        "ask_again_at",
        "is_busy",
        "is_refused",
        "settled",
        "symbol",
        "ticker_id",
    )

    def __init__(self, ticker_id: int, symbol: str) -> None:
        self.ticker_id = ticker_id
        self.symbol = symbol
        self.settled = 0
        self.is_busy = True
        # The exchange does not know the symbol (any more): nobody waits for it.
        self.is_refused = False
        self.ask_again_at = 0.0
        self._tail = NO_ROWS
        self._waiting: dict[int, Row] = {}
        # Timeframe -> opening instant of its newest candle.
        self._last_open: dict[str, float] = {}

    @property
    def timeframes(self) -> set[str]:
        """What is built here besides 1m."""
        return set(self._last_open)

    def start(self, minutes: Float64s, settled: int, last_opens: Mapping[str, float]) -> None:
        """Begins after a backfill: the newest minutes, how far they are complete, each timeframe's newest candle."""
        self._tail = minutes[-TAIL:]
        self.settled = settled
        self._last_open = dict(last_opens)

    def build(self, timeframe: str, last_open: float) -> None:
        """From now on also builds `timeframe`, whose newest candle so far opened at `last_open` (0: none)."""
        self._last_open[timeframe] = last_open

    def leave(self, timeframe: str) -> None:
        """Builds `timeframe` no longer."""
        self._last_open.pop(timeframe, None)

    def wait(self, row: Row) -> bool:
        """Keeps a closed minute until those before it are there; False when too many wait already."""
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting.setdefault(int(row[0]), row)
        return True

    def settle(self, rows: Float64s, until: int) -> list[Block]:
        """Takes the minutes from `settled` to `until` (all the exchange has of them); returns all candles that closed."""
        if until <= self.settled:
            return []
        waiting = [row for at, row in self._waiting.items() if at < until]
        rows = _merged(rows, np.array(waiting) if waiting else NO_ROWS, self.settled, until)
        self._waiting = {at: row for at, row in self._waiting.items() if at >= until}
        blocks = []
        if len(rows):
            previous = float(self._tail[-1, 0]) if len(self._tail) else 0.0
            blocks.append(Block(self.ticker_id, "1m", rows, previous))
            self._tail = np.concatenate((self._tail, rows))
        blocks += self._higher(until)
        self._tail = self._tail[-TAIL:]
        self.settled = until
        return blocks

    def drain(self) -> list[Block]:
        """Takes the waiting minutes that follow on what is settled; returns all candles that closed."""
        until = self.settled
        while until in self._waiting:
            until += MINUTE_MS
        return self.settle(NO_ROWS, until)

    def take_outdated(self) -> Float64s:
        """Removes and returns the waiting minutes that were settled meanwhile."""
        outdated = [row for at, row in self._waiting.items() if at < self.settled]
        for row in outdated:
            del self._waiting[int(row[0])]
        return np.array(outdated) if outdated else NO_ROWS

    def is_known(self, row: Row) -> bool:
        """Whether exactly this minute is among the newest."""
        place = int(np.searchsorted(self._tail[:, 0], row[0]))
        return place < len(self._tail) and tuple(self._tail[place]) == row

    @property
    def newest_waiting(self) -> int | None:
        """The opening instant of the newest waiting minute."""
        return max(self._waiting, default=None)

    def drop_waiting_from(self, instant: int) -> int:
        """Forgets the waiting minutes that opened at or after an instant; returns how many."""
        before = len(self._waiting)
        self._waiting = {at: row for at, row in self._waiting.items() if at < instant}
        return before - len(self._waiting)

    def _higher(self, until: int) -> list[Block]:
        blocks = []
        for timeframe, last_open in self._last_open.items():
            length = TIMEFRAMES[timeframe]
            first, end = self.settled // length * length, until // length * length
            if end <= first:
                continue
            opens = self._tail[:, 0]
            built = build(self._tail[(opens >= first) & (opens < end)], timeframe)
            if len(built):
                blocks.append(Block(self.ticker_id, timeframe, built, last_open))
                self._last_open[timeframe] = float(built[-1, 0])
        return blocks


def build(minutes: Float64s, timeframe: str) -> Float64s:
    """The candles of `timeframe` out of 1m rows, as the exchange itself gives them."""
    return aggregate(Candles.from_rows(minutes, "1m"), timeframe).rows


def _merged(fetched: Float64s, waiting: Float64s, start: int, until: int) -> Float64s:
    """Both, each minute once (the fetched one), in order, from `start` to before `until`."""
    rows = np.concatenate((fetched, waiting))
    rows = rows[(rows[:, 0] >= start) & (rows[:, 0] < until)]
    _, places = np.unique(rows[:, 0], return_index=True)
    return rows[places]
