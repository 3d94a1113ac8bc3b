"""Recorded candles, minute by minute, through the whole chain: each stored verdict is what the engine computes.

REPLAYED_SWEEPS=150 replays five hours of the recording instead of the short piece that every run of the tests takes.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import statistics
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from engine.tests.market import RECORDED, generated
from workers.product import Product, running_product
from workers.tests.test_end_to_end import ALGORITHMS, Engine, to_ms

pytestmark = pytest.mark.processes

SWEEPS = int(os.environ.get("REPLAYED_SWEEPS", "10"))
# The exchange halted from 12:40 to 14:00; the recording has no candles there.
BEFORE_THE_HALT = datetime(2023, 3, 24, 12, 30, tzinfo=UTC)
AN_ORDINARY_DAY = datetime(2023, 4, 20, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded minutes of Binance, or generated ones in files of the same form where those are not there."""
    recorded = RECORDED / "candles" / "binance_spot"
    if recorded.is_dir():
        return recorded
    folder = tmp_path_factory.mktemp("recording")
    for seed, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        for start in (BEFORE_THE_HALT, AN_ORDINARY_DAY):
            rows = generated(4_000, seed=seed).rows
            rows[:, 0] += to_ms(start - timedelta(minutes=3_000)) - rows[0, 0]
            if start == BEFORE_THE_HALT:
                is_halted = (rows[:, 0] >= to_ms(start) + 600_000) & (rows[:, 0] < to_ms(start) + 5_400_000)
                rows = rows[~is_halted]
            with gzip.open(folder / f"{symbol}_1m_{start:%Y%m%d}.csv.gz", "wt", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["open_time", "open", "high", "low", "close", "volume"])
                writer.writerows([int(row[0]), *(repr(float(value)) for value in row[1:])] for row in rows)
    return folder


def replay(product: Product, recording: Path, start: datetime) -> int:
    """Starts the exchange and everything behind it on the recording; gives the market's clock in ms."""
    arguments = ("--replay", str(recording), "--replay-from", start.isoformat(), "--history-minutes", "2500")
    product.start_simulator("--stepped", *arguments)
    product.manage("bootstrap")
    product.sweep_by_hand()
    product.start("heartbeat", "worker-sweep", "worker-default")
    now: int = requests.get(f"{product.values['SIMULATOR_URL']}/api/v3/time", timeout=10).json()["serverTime"]
    product.wait_for("the backfill", lambda: product.watermark("2m") >= now)
    return now


def run_sweep(product: Product, slot_ms: int) -> None:
    slot = datetime.fromtimestamp(slot_ms / 1000, UTC)
    product.wait_for("the watermark", lambda: product.watermark("2m") >= slot_ms)
    product.send("central_sweep", slot=slot.isoformat())

    def is_closed() -> bool:
        product.send("close_sweeps")
        return bool(product.query("SELECT 1 FROM signals_sweep WHERE slot = %s AND status = 'closed'", slot))

    product.wait_for(f"the end of the sweep of {slot}", is_closed)


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    with running_product(tmp_path) as product:
        yield product


def test_every_verdict_on_recorded_candles_is_what_the_engine_computes(product: Product, recording: Path) -> None:
    now = replay(product, recording, AN_ORDINARY_DAY)

    for number in range(SWEEPS):
        run_sweep(product, now + number * 120_000)
        product.advance(2)

    stored = product.query(
        "SELECT configuration_id, algorithm_id, symbol, timeframe, (extract(epoch FROM candle_closed_at) * 1000)::bigint, "
        "signal, value, price, reason FROM signals_signalresult "
        "JOIN signals_configuration ON signals_configuration.id = configuration_id "
        "JOIN market_ticker ON market_ticker.id = ticker_id"
    )
    engine = Engine(product)
    mismatches = 0
    for configuration, algorithm, symbol, timeframe, closed_at, *said in stored:
        frame = {"configuration": configuration, "algorithm": algorithm, "ticker": symbol}
        computed = engine.computes(frame | {"timeframe": timeframe, "closed_at": closed_at})
        mismatches += said != [computed[key] for key in ("signal", "value", "price", "reason")]
    assert mismatches == 0
    [(tickers,)] = product.query("SELECT count(*) FROM market_ticker WHERE is_followed")
    assert len(stored) == tickers * ALGORITHMS * (10 + SWEEPS - 1)
    sweeps = product.query("SELECT status, ok, duration_ms FROM signals_sweep")
    assert {(status, ok) for status, ok, _ in sweeps} == {("closed", tickers)}
    counts = {
        "sweeps": len(sweeps),
        "tickers": tickers,
        "results": len(stored),
        "calls": product.query("SELECT count(*) FROM signals_call")[0][0],
        "mismatches": mismatches,
        "median sweep ms": statistics.median(duration for _, _, duration in sweeps),
    }
    print("\n" + json.dumps(counts))  # noqa: T201 (read by people: pytest -s)


def test_the_halt_of_the_exchange_stays_a_gap(product: Product, recording: Path) -> None:
    now = replay(product, recording, BEFORE_THE_HALT)
    run_sweep(product, now)
    product.advance(20)
    during = now + 20 * 60_000
    run_sweep(product, during)
    product.advance(80)
    after = now + 100 * 60_000
    run_sweep(product, after)

    receipts = product.query(
        "SELECT slot, signals_tickerrun.status FROM signals_tickerrun JOIN market_ticker ON market_ticker.id = ticker_id "
        "WHERE symbol = 'BTCUSDT'"
    )
    assert dict(receipts) == {instant(now): "ok", instant(during): "stale", instant(after): "ok"}
    written = product.query(
        "SELECT DISTINCT signal, reason FROM signals_signalresult JOIN market_ticker ON market_ticker.id = ticker_id "
        "WHERE symbol = 'BTCUSDT' AND candle_closed_at > %s",
        instant(now + 90 * 60_000),
    )
    assert {signal for signal, _ in written} == {"DO NOTHING"}
    assert all(reason.startswith("gap in the look-back: 40 candles missing after") for _, reason in written)
    candles = product.query(
        "SELECT count(*) FROM market_candle WHERE timeframe = '2m' AND open_time >= %s AND open_time < %s",
        instant(now + 10 * 60_000),
        instant(now + 90 * 60_000),
    )
    assert candles == [(0,)]


def instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
