"""Candles to test on: generated ones, the same on every machine, and recorded ones where ../shared/data is there."""

from __future__ import annotations

import csv
import gzip
import random
from functools import cache
from pathlib import Path

import numpy as np

from engine.candles import TIMEFRAMES, Candles, Float64s

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data"
# Files are long (up to 88,000 bars) and many: their first so many bars are enough for every test here.
MAX_BARS = 20_000


@cache
def generated(
    count: int = 3_000, seed: int = 1, timeframe: str = "1m", price: float = 100.0, quiet: float = 0.03
) -> Candles:
    """A seeded random walk through trends, ranges, calm and wild hours and jumps, in ticks of 1e-5 of the first price.

    `quiet` is the share of candles without trades: flat, without volume. Only `random.Random.random` is used, whose
    sequence Python promises to keep, and prices are rounded to ticks: the same candles for ever.
    """
    generator = random.Random(seed)
    length = TIMEFRAMES[timeframe]
    tick = price * 1e-5
    rows: list[tuple[float, ...]] = []
    close, drift, volatility, left = price, 0.0, 0.001, 0
    for i in range(count):
        if left == 0:
            left = 50 + int(generator.random() * 350)
            volatility = 0.0002 + 0.002 * generator.random() ** 3
            drift = (generator.random() - 0.5) * volatility
            close *= 1 + (generator.random() - 0.5) * 0.01
        left -= 1
        if generator.random() < quiet and i > 0:
            last = rows[-1][4]
            rows.append((i * length, last, last, last, last, 0.0))
            continue
        path = [close]
        for _ in range(4):
            # A sum of three uniform numbers is normal enough. The pull keeps long walks near their first price.
            noise = generator.random() + generator.random() + generator.random() - 1.5
            pull = (price - path[-1]) / price * 1e-4
            path.append(path[-1] * (1 + drift / 4 + pull + volatility * noise))
        close = path[-1]
        ticks = [max(1, round(step / tick)) * tick for step in path]
        rows.append((i * length, ticks[0], max(ticks), min(ticks), ticks[-1], round(1 + 100 * generator.random(), 3)))
    start = 1_700_000_000_000 // TIMEFRAMES["4h"] * TIMEFRAMES["4h"]
    return Candles.from_rows(np.array(rows).reshape(-1, 6) + np.array([start, 0, 0, 0, 0, 0]), timeframe)


def with_gap(candles: Candles, before: int, missing: int) -> Candles:
    """The same candles, those from index `before` on opening `missing` candles later."""
    rows = candles.rows
    rows[before:, 0] += missing * candles.length_ms
    return Candles.from_rows(rows, candles.timeframe)


@cache
def recorded(path: Path) -> Candles:
    """The first bars of a recorded file.

    Timeframes the product does not know, and the one market that closes for the night, are given the clock of
    consecutive 1h candles: an algorithm only counts candles.
    """
    timeframe = path.name.split("_")[1]
    with gzip.open(path, "rt") as file:
        rows = np.loadtxt(file, delimiter=",", skiprows=1, max_rows=MAX_BARS, ndmin=2)
    if timeframe not in TIMEFRAMES or path.parent.name == "backtesting_py":
        timeframe = "1h"
        rows[:, 0] = np.arange(len(rows)) * float(TIMEFRAMES[timeframe])
    return Candles.from_rows(rows, timeframe)


@cache
def long_recordings(bars: int = 600) -> tuple[Path, ...]:
    """Every recorded file with at least so many bars; none on a bare clone."""
    manifest = RECORDED / "candles" / "manifest.csv"
    if not manifest.exists():
        return ()
    with manifest.open() as file:
        return tuple(RECORDED / row["path"] for row in csv.DictReader(file) if int(row["bars"]) >= bars)


def recording(name: str) -> Candles | None:
    """The first bars of one recorded file by its name under candles/; None on a bare clone."""
    path = RECORDED / "candles" / name
    return recorded(path) if path.exists() else None


def markets() -> dict[str, Candles]:
    """A few thousand candles of different temper, by name: generated ones always, a recorded one where there is one."""
    found = {
        "generated": generated(),
        "generated thin and tiny": generated(seed=2, price=1.3e-5, quiet=0.4),
        "generated large": generated(seed=3, price=64_000.0, timeframe="5m"),
    }
    btc = recording("binance_spot/BTCUSDT_1m_20230316_20230501.csv.gz")
    if btc is not None:
        found["BTCUSDT 1m"] = btc.window(6_000, 3_000)
    ada = recording("binance_spot/ADABTC_1m_20230401_20230501.csv.gz")
    if ada is not None:
        found["ADABTC 1m"] = ada.window(6_000, 3_000)
    return found


def text_of(path: Path) -> str:
    """The text of a file, gzipped or not."""
    packed = path.read_bytes()
    return (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode()


def columns_of(path: Path) -> dict[str, Float64s]:
    """The numeric columns of a CSV file (gzipped or not) by header; what is no number is NaN."""
    rows = list(csv.DictReader(text_of(path).splitlines()))
    return {name: np.array([_number(row[name]) for row in rows]) for name in rows[0] if name}


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
