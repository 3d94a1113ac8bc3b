from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from engine.candles import MINUTE_MS, Candles, Float64s, aggregate
from exchanges.simulator import SimulatorConfig
from exchanges.simulator.market import INTERVALS, Market
from exchanges.simulator.prices import CLOSE, HIGH, LOW, OPEN, VOLUME, NoisePrices
from exchanges.simulator.universe import list_markets
from exchanges.tests.conftest import START, START_MS

MINUTE = START_MS // MINUTE_MS
THIN = 7  # 币安人生USDT


def market(tickers: int = 16, seed: int = 1) -> Market:
    return Market(SimulatorConfig(tickers=tickers, seed=seed, stepped=True, start_at=START))


def minutes(place: int, first: int, number: int, *, tickers: int = 16, seed: int = 1) -> Float64s:
    candles: Float64s = NoisePrices(list_markets(tickers, seed), seed).minutes(np.array([place]), first, number)[0]
    return candles


@pytest.mark.parametrize("place", [0, 1, THIN, 15])
def test_a_minute_is_the_same_alone_or_in_a_range(place: int) -> None:
    together = minutes(place, MINUTE, 300)

    alone = np.concatenate([minutes(place, MINUTE + offset, 1) for offset in range(300)])

    assert np.array_equal(alone, together)


def test_a_minute_is_the_same_alone_or_among_all_markets() -> None:
    prices = NoisePrices(list_markets(200, 1), 1)
    together = prices.minutes(np.arange(200), MINUTE, 3)

    alone = np.concatenate([prices.minutes(np.array([place]), MINUTE, 3) for place in range(200)])

    assert np.array_equal(alone, together)


def test_more_tickers_leave_the_first_ones_as_they_were() -> None:
    assert np.array_equal(minutes(3, MINUTE, 50, tickers=16), minutes(3, MINUTE, 50, tickers=500))


def test_the_seed_makes_the_market() -> None:
    assert np.array_equal(minutes(0, MINUTE, 50, seed=5), minutes(0, MINUTE, 50, seed=5))
    assert not np.array_equal(minutes(0, MINUTE, 50, seed=5), minutes(0, MINUTE, 50, seed=6))


def test_candles_are_sound() -> None:
    candles = NoisePrices(list_markets(300, 1), 1).minutes(np.arange(300), MINUTE - 600, 600)

    assert np.isfinite(candles).all()
    assert (candles[..., LOW] > 0).all()
    assert (candles[..., LOW] <= np.minimum(candles[..., OPEN], candles[..., CLOSE])).all()
    assert (candles[..., HIGH] >= np.maximum(candles[..., OPEN], candles[..., CLOSE])).all()
    assert (candles[..., VOLUME] >= 0).all()


def test_a_liquid_market_opens_where_it_closed() -> None:
    candles = minutes(0, MINUTE, 1_000)

    assert np.array_equal(candles[1:, OPEN], candles[:-1, CLOSE])
    assert (candles[:, VOLUME] > 0).all()


def test_a_minute_without_trades_is_flat_at_the_last_close() -> None:
    candles = minutes(THIN, MINUTE, 5_000)
    quiet = np.flatnonzero(candles[:, VOLUME] == 0)
    quiet = quiet[quiet > 0]

    assert 0.2 < len(quiet) / len(candles) < 0.8
    for column in (OPEN, HIGH, LOW, CLOSE):
        assert np.array_equal(candles[quiet, column], candles[quiet - 1, CLOSE])


def test_markets_are_correlated_and_crosses_fit_their_parts() -> None:
    listings = list_markets(16, 1)
    place = {listing.symbol: row for row, listing in enumerate(listings)}
    closes = NoisePrices(listings, 1).minutes(np.arange(16), MINUTE - 20_000, 20_000)[:, ::15, CLOSE]
    returns = np.diff(np.log(closes), axis=1)
    correlation = np.corrcoef(returns[[place["BTCUSDT"], place["ETHUSDT"], place["SOLUSDT"]]])

    cross = closes[place["ETHUSDT"]] / closes[place["BTCUSDT"]]

    assert (correlation[np.triu_indices(3, 1)] > 0.1).all()
    assert np.allclose(closes[place["ETHBTC"]], cross, rtol=0.01)


def test_prices_trend_jump_and_change_their_pace() -> None:
    returns = np.abs(np.diff(np.log(minutes(0, MINUTE - 100_000, 100_000)[:, CLOSE])))
    by_day = returns[: len(returns) // 1_440 * 1_440].reshape(-1, 1_440).mean(axis=1)

    assert by_day.max() > 1.5 * by_day.min()
    assert returns.max() > 10 * np.median(returns)


@pytest.mark.parametrize("timeframe", [name for name in INTERVALS if name != "1m"])
@pytest.mark.parametrize("place", [0, THIN])
def test_higher_bars_are_aggregates_of_the_minutes(place: int, timeframe: str) -> None:
    standing = market()
    length = INTERVALS[timeframe]
    number = 50

    bars = standing.bars(place, timeframe, None, None, number, START_MS)

    first = int(bars[0, 0])
    rows = standing.bars(place, "1m", first, START_MS - 1, (START_MS - first) // MINUTE_MS, START_MS)
    expected = aggregate(Candles.from_rows(rows[:, :6], "1m"), timeframe)
    assert np.array_equal(bars[:, :5], expected.rows[:, :5])
    assert np.allclose(bars[:, 5], expected.volume, rtol=1e-12)
    assert np.array_equal(np.diff(bars[:, 0]), np.full(number - 1, length))
    assert np.allclose(bars[:, 6].sum(), rows[:, 6].sum())


def test_the_newest_bars_come_without_a_start_and_the_first_ones_with_it() -> None:
    standing = market()
    hour = 60 * MINUTE_MS

    newest = standing.bars(0, "1m", None, None, 5, START_MS)
    first = standing.bars(0, "1m", START_MS - hour, None, 5, START_MS)
    bounded = standing.bars(0, "1m", START_MS - hour, START_MS - hour + 2 * MINUTE_MS, 5, START_MS)
    future = standing.bars(0, "1m", START_MS + hour, None, 5, START_MS)

    assert newest[-1, 0] == START_MS - MINUTE_MS
    assert first[:, 0].tolist() == [START_MS - hour + offset * MINUTE_MS for offset in range(5)]
    assert bounded[:, 0].tolist() == [START_MS - hour + offset * MINUTE_MS for offset in range(3)]
    assert len(future) == 0


@pytest.mark.parametrize("place", [0, THIN])
def test_a_forming_candle_grows_into_the_closed_one(place: int) -> None:
    standing = market()
    minute = next(
        candidate
        for candidate in range(MINUTE, MINUTE + 99)
        if standing.closed_minute(np.array([place]), candidate)[0, 5]
    )
    closed = standing.closed_minute(np.array([place]), minute)[0]

    states = np.array(
        [standing.forming_minute(np.array([place]), minute * MINUTE_MS + ms)[0] for ms in range(1, MINUTE_MS, 500)]
    )

    _, open_, high, low, close, volume, *_ = states.T
    assert (open_ == closed[1]).all()
    assert (np.diff(high) >= 0).all()
    assert high[-1] == closed[2]
    assert (np.diff(low) <= 0).all()
    assert low[-1] == closed[3]
    assert ((low <= close) & (close <= high)).all()
    assert (np.diff(volume) >= 0).all()
    assert volume[-1] <= closed[5]
    assert states[0, 5] > 0


def test_the_running_bar_is_the_last_one_of_a_request() -> None:
    standing = market()
    now = START_MS + 90_500

    bars = standing.bars(0, "5m", None, None, 3, now)

    minute = standing.bars(0, "1m", None, None, 2, now)
    assert bars[-1, 0] == START_MS
    assert bars[-1, 1] == minute[0, 1]
    assert bars[-1, 2] == minute[:, 2].max()
    assert bars[-1, 4] == minute[-1, 4]


def test_the_day_adds_up() -> None:
    standing = market()
    now = START_MS + int(timedelta(minutes=17).total_seconds()) * 1000

    day = standing.day(now)[0]

    minutes_of_day = standing.bars(0, "1m", START_MS - 24 * 60 * MINUTE_MS, None, 24 * 60 + 17, now)
    assert day[1] == minutes_of_day[0, 1]
    assert day[2] == minutes_of_day[:, 2].max()
    assert day[3] == minutes_of_day[:, 3].min()
    assert day[4] == minutes_of_day[-1, 4]
    assert np.isclose(day[5], minutes_of_day[:, 5].sum())
    assert np.isclose(day[6], minutes_of_day[:, 6].sum())
