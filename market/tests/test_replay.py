"""Markets played from recordings through the whole way in: exchange, sockets, heartbeat, Postgres."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings

from engine.candles import MINUTE_MS, Float64s
from exchanges.simulator import SimulatorConfig, running
from exchanges.simulator.prices import NoisePrices
from exchanges.simulator.universe import list_markets
from market.tests.conftest import beating, stored_rows

RECORDED = Path(settings.BASE_DIR).parent / "shared" / "data" / "candles" / "binance_spot"
HEADER = ["open_time", "open", "high", "low", "close", "volume"]
HOUR = timedelta(hours=1)

Row = list[str]

pytestmark = [pytest.mark.usefixtures("live", "every_quote")]


@dataclass(frozen=True)
class Part:
    """A part of a recording: what is played from `begin` after an hour of history, how it steps, the gaps in it."""

    symbols: Sequence[str]
    begin: datetime
    steps: Sequence[int]
    gaps: Sequence[int]
    is_recorded: bool = True

    @property
    def end(self) -> datetime:
        return self.begin + timedelta(minutes=sum(self.steps))


# Binance stood still on 2023-03-24 from 12:40 to 13:59. Single minutes, a step into the halt, and one across its end.
ACROSS_THE_HALT = (*[1] * 5, 30, 5, 1, 119, 1, 19)
HALT = Part(("BTCUSDT", "ETHUSDT", "SOLUSDT"), datetime(2023, 3, 24, 12, tzinfo=UTC), ACROSS_THE_HALT, [80])
# Many of its minutes see no trade.
THIN = Part(("ADABTC",), datetime(2023, 4, 20, 3, tzinfo=UTC), (*[1] * 10, 110, 120), [])
# The same on a bare clone: simulated minutes, written down as a recording with a halt of our own. The eighth is thin.
MARKETS = list_markets(8, seed=7)
WRITTEN = Part(("BTCUSDT", MARKETS[7].symbol), HALT.begin, ACROSS_THE_HALT, [80], is_recorded=False)
HALTED = range(25, 105)  # minutes after HALT.begin + 15


def cells(part: Part, symbol: str, timeframe: str) -> list[Row]:
    """The recording as text, from an hour before the part to an hour behind it."""
    if part.is_recorded:
        [file] = RECORDED.glob(f"{symbol}_{timeframe}_2023*_20230501.csv.gz")
        with gzip.open(file, "rt", encoding="ascii") as lines:
            rows = list(csv.reader(lines))[1:]
    elif timeframe == "1m":
        rows = simulated(part, symbol)
    else:
        rows = resampled(simulated(part, symbol))
    first, last = milliseconds(part.begin - HOUR), milliseconds(part.end + HOUR)
    return [row for row in rows if first <= int(row[0]) < last]


def simulated(part: Part, symbol: str) -> list[Row]:
    market = [listing.symbol for listing in MARKETS].index(symbol)
    first = milliseconds(part.begin - HOUR) // MINUTE_MS
    minutes = NoisePrices(MARKETS, seed=7).minutes(np.array([market]), first, 360)[0]
    return [
        [str((first + place) * MINUTE_MS), *(format(Decimal(repr(value)), "f") for value in minute)]
        for place, minute in enumerate(minutes.tolist())
        if place - 75 not in HALTED
    ]


def resampled(minutes: list[Row]) -> list[Row]:
    """The plain truth in exact decimals: minutes without trades change nothing, unless there are no others."""
    rows = []
    for period, group in groupby(minutes, key=lambda row: int(row[0]) // (5 * MINUTE_MS)):
        all_rows = list(group)
        traded = [row for row in all_rows if Decimal(row[5])] or all_rows
        high = max(Decimal(row[2]) for row in traded)
        low = min(Decimal(row[3]) for row in traded)
        volume = sum(Decimal(row[5]) for row in traded)
        rows.append([str(period * 5 * MINUTE_MS), traded[0][1], str(high), str(low), traded[-1][4], str(volume)])
    return rows


def milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def as_rows(text: list[Row], begin: datetime, end: datetime) -> Float64s:
    return np.array(
        [[float(cell) for cell in row] for row in text if milliseconds(begin) <= int(row[0]) < milliseconds(end)]
    )


PARTS = {"simulated": WRITTEN} | ({"halt": HALT, "thin": THIN} if RECORDED.is_dir() else {})


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS.keys())
async def test_what_is_stored_equals_what_was_recorded(part: Part, tmp_path: Path) -> None:
    for symbol in part.symbols:
        with gzip.open(tmp_path / f"{symbol}_1m_part.csv.gz", "wt", encoding="ascii") as file:
            csv.writer(file, lineterminator="\n").writerows([HEADER, *cells(part, symbol, "1m")])
    config = SimulatorConfig(replay=tmp_path, replay_from=part.begin, stepped=True)
    async with running(config) as simulator, beating(simulator, "5m") as beat:
        await beat.complete()
        began = beat.market_ms

        await beat.advance(*part.steps)

        for symbol in part.symbols:
            for timeframe in ("1m", "5m"):
                expected = as_rows(cells(part, symbol, timeframe), part.begin, part.end)
                expected[:, 0] += began - milliseconds(part.begin)
                stored = await stored_rows(symbol, timeframe)
                assert np.array_equal(stored[stored[:, 0] >= began], expected), f"{symbol} {timeframe}"
            distances = np.diff((await stored_rows(symbol, "1m"))[:, 0]) / MINUTE_MS
            assert (distances[distances > 1] - 1).tolist() == part.gaps
