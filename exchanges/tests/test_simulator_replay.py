from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from engine.candles import MINUTE_MS, Candles, Float64s, aggregate
from exchanges.simulator import SimulatorConfig, UnusableRecording, running
from exchanges.simulator.market import Market
from exchanges.simulator.replay import WEEK_MINUTES
from exchanges.tests import recordings
from exchanges.tests.conftest import START, ask, client_of, following

WEEK = timedelta(weeks=1)
GAP = range(1_200, 1_280)


def write(folder: Path, symbol: str, rows: Float64s) -> None:
    lines = ["open_time,open,high,low,close,volume"]
    lines += [",".join([str(int(row[0])), *(f"{value:.10g}" for value in row[1:])]) for row in rows.tolist()]
    with gzip.open(folder / f"{symbol}_1m_a_b.csv.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")


def read(folder: Path, symbol: str) -> Float64s:
    (file,) = folder.glob(f"{symbol}_1m_*.csv.gz")
    with gzip.open(file, "rt") as lines:
        return np.loadtxt(lines, delimiter=",", skiprows=1)


def simulated_recording(folder: Path) -> tuple[Path, datetime]:
    """Two weeks and a half of simulated minutes, the trading halted for eighty of them."""
    source = Market(SimulatorConfig(tickers=16, stepped=True, start_at=START))
    end = int(START.timestamp()) * 1000
    number = int(2.5 * WEEK_MINUTES)
    for place in (0, 1, 7):
        rows = source.bars(place, "1m", None, None, number, end)[:, :6]
        write(folder, source.listings[place].symbol, np.delete(rows, GAP, axis=0))
    return folder, START - timedelta(minutes=number - GAP.start)


def real_recording() -> tuple[Path, datetime]:
    """Binance itself; it halted for eighty minutes on 2023-03-24."""
    return recordings.CANDLES, datetime(2023, 3, 24, 12, 40, tzinfo=UTC)


SOURCES = ["simulated"] + (["recorded"] if recordings.CANDLES.exists() else [])


@pytest.fixture(scope="module", params=SOURCES)
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, datetime]:
    """A folder of recorded minutes, and when its trading halted."""
    return (
        real_recording() if request.param == "recorded" else simulated_recording(tmp_path_factory.mktemp("recording"))
    )


def around_the_halt(recording: tuple[Path, datetime]) -> SimulatorConfig:
    folder, halted_at = recording
    starts_at = halted_at - timedelta(minutes=30)
    return SimulatorConfig(replay=folder, replay_from=starts_at, stepped=True, start_at=START)


def all_bars(market: Market, symbol: str) -> Float64s:
    return market.bars(market.place[symbol], "1m", 0, None, 10**6, market.clock.now_ms())[:, :6]


def test_a_replay_is_exact_and_its_gap_stays_a_gap(recording: tuple[Path, datetime]) -> None:
    folder, _ = recording
    market = Market(around_the_halt(recording))
    for _ in range(200):
        market.clock.step()

    # Some recordings begin later.
    played_markets = [symbol for symbol in market.place if len(all_bars(market, symbol))]
    assert {"BTCUSDT", "ETHUSDT"} <= set(played_markets)
    for symbol in played_markets:
        played = all_bars(market, symbol)
        recorded = read(folder, symbol)[: len(played)]
        shift = played[0, 0] - recorded[0, 0]
        assert shift % (WEEK_MINUTES * MINUTE_MS) == 0
        assert np.array_equal(played[:, 0] - shift, recorded[:, 0])
        assert np.array_equal(played[:, 1:], recorded[:, 1:])


def test_higher_bars_of_a_replay_are_aggregates_of_the_recorded_minutes(recording: tuple[Path, datetime]) -> None:
    market = Market(around_the_halt(recording))
    for _ in range(200):
        market.clock.step()

    bars = market.bars(market.place["BTCUSDT"], "5m", None, None, 200, market.clock.now_ms())

    rows = all_bars(market, "BTCUSDT")
    expected = aggregate(Candles.from_rows(rows, "1m"), "5m").rows[-200:]
    assert len(bars) == 200
    assert np.array_equal(bars[:, :5], expected[:, :5])
    assert np.diff(bars[:, 0]).max() > 5 * MINUTE_MS


async def test_a_client_sees_every_recorded_minute_close_and_none_in_the_gap(recording: tuple[Path, datetime]) -> None:
    folder, halted_at = recording
    async with running(around_the_halt(recording)) as simulator:
        start = simulator.market.clock.now_ms()
        market_data = client_of(simulator)
        async with following(market_data, ["BTCUSDT"], start) as follower:
            await simulator.advance(130)
            await follower.until_minutes(50)
        await market_data.close()

    shift = start - int(halted_at.timestamp()) * 1000 + 30 * MINUTE_MS
    recorded = read(folder, "BTCUSDT")
    wanted = (recorded[:, 0] >= start - shift) & (recorded[:, 0] < start - shift + 130 * MINUTE_MS)
    assert len(recorded[wanted]) == 50
    assert follower.candles["BTCUSDT"] == {int(row[0]) + shift: tuple(row[1:]) for row in recorded[wanted].tolist()}
    assert set(follower.streamed.values()) == {1}


def test_a_recording_is_moved_by_whole_weeks_to_cover_now(recording: tuple[Path, datetime]) -> None:
    folder, halted_at = recording
    now = datetime.now(UTC)

    market = Market(SimulatorConfig(replay=folder, replay_from=halted_at))

    moved = market.prices.first_minute * 60 - int(read(folder, "BTCUSDT")[0, 0]) // 1000
    assert moved % WEEK.total_seconds() == 0
    assert now - WEEK < halted_at + timedelta(seconds=moved) <= now


def test_without_an_instant_the_history_lies_before_the_start(recording: tuple[Path, datetime]) -> None:
    folder, _ = recording

    market = Market(SimulatorConfig(replay=folder, history_minutes=120, stepped=True))

    assert market.clock.now_ms() // MINUTE_MS - market.prices.first_minute == 120
    assert len(all_bars(market, "BTCUSDT")) == 120


def test_the_steps_of_a_replayed_market_are_those_of_its_recording(tmp_path: Path) -> None:
    write(
        tmp_path,
        "币安人生USDT",
        np.array([[60_000.0, 0.125, 0.5, 0.125, 0.25, 3.5], [120_000.0, 0.25, 0.25, 0.25, 0.25, 0]]),
    )

    market = Market(SimulatorConfig(replay=tmp_path, history_minutes=1, stepped=True))

    (listing,) = market.listings
    assert (listing.base_asset, listing.quote_asset) == ("币安人生", "USDT")
    assert (str(listing.tick_size), str(listing.step_size)) == ("0.001", "0.1")


async def test_a_market_whose_recording_begins_later_is_listed_but_silent(tmp_path: Path) -> None:
    minutes = np.arange(1, 101) * 60_000.0
    rows = np.column_stack((minutes, *[np.full(100, 2.0)] * 5))
    write(tmp_path, "BTCUSDT", rows)
    write(tmp_path, "ETHUSDT", rows[60:])
    async with running(SimulatorConfig(replay=tmp_path, history_minutes=50, stepped=True)) as simulator:
        market_data = client_of(simulator)
        start = simulator.market.clock.now_ms()
        early = await market_data.klines("ETHUSDT", "1m")
        volumes = await market_data.quote_volumes_24h()
        ticker = await ask(simulator, "/api/v3/ticker/24hr", symbol="ETHUSDT")
        async with following(market_data, ["BTCUSDT", "ETHUSDT"], start) as follower:
            await simulator.advance(20)
            await follower.until(lambda: len(follower.candles["BTCUSDT"]) == 20)
        await market_data.close()

    assert len(early) == 0
    assert volumes == {"BTCUSDT": 200.0, "ETHUSDT": 0.0}
    assert ticker["lastPrice"] == "0.00000000"
    assert len(follower.candles["ETHUSDT"]) == 10


def test_a_folder_that_cannot_be_played_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableRecording, match="no <SYMBOL>"):
        Market(SimulatorConfig(replay=tmp_path))

    write(tmp_path, "BTCUSDT", np.array([[60_000.0, 1, 1, 1, 1, 1], [120_000.0, 1, 1, 1, 1, 1]]))

    with pytest.raises(UnusableRecording, match="cannot start"):
        Market(SimulatorConfig(replay=tmp_path, history_minutes=5))
    with pytest.raises(UnusableRecording, match="too short"):
        Market(SimulatorConfig(replay=tmp_path, history_minutes=1))


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "BTCUSDT_1m_x.csv.gz", "wt") as file:
        file.write("date,price\n1,2\n")

    with pytest.raises(UnusableRecording, match="does not begin"):
        Market(SimulatorConfig(replay=tmp_path))
