from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest

from engine.candles import TIMEFRAMES, Candles, aggregate
from engine.tests.market import generated, recording, with_gap

FIVE_MINUTES = TIMEFRAMES["5m"]
# Where the recorded 1m file begins or ends inside a 5m candle, that candle cannot be rebuilt.
RECORDED_PAIRS = [
    ("binance_spot/BTCUSDT_1m_20230316_20230501.csv.gz", "binance_spot/BTCUSDT_5m_20230316_20230501.csv.gz"),
    ("binance_spot/ETHUSDT_1m_20230316_20230501.csv.gz", "binance_spot/ETHUSDT_5m_20230316_20230501.csv.gz"),
    ("binance_spot/SOLUSDT_1m_20230316_20230501.csv.gz", "binance_spot/SOLUSDT_5m_20230316_20230501.csv.gz"),
    ("binance_spot/ADABTC_1m_20230401_20230501.csv.gz", "binance_spot/ADABTC_5m_20230401_20230501.csv.gz"),
]


def by_hand(minutes: Candles, timeframe: str) -> list[list[float]]:
    """Higher candles row by row: quiet minutes count only where no minute of the period had a trade."""
    periods = defaultdict(list)
    for row in minutes.rows.tolist():
        periods[row[0] // TIMEFRAMES[timeframe]].append(row)
    built = []
    for number, rows in periods.items():
        kept = [row for row in rows if row[5] > 0] or rows
        highest, lowest = max(row[2] for row in kept), min(row[3] for row in kept)
        volume = float(sum(Decimal(repr(row[5])) for row in kept))  # as an exchange adds up
        built.append([number * TIMEFRAMES[timeframe], kept[0][1], highest, lowest, kept[-1][4], volume])
    return built


@pytest.mark.parametrize("timeframe", [name for name in TIMEFRAMES if name != "1m"])
@pytest.mark.parametrize("quiet", [0.0, 0.1, 0.7])
def test_higher_candles_are_built_as_by_hand(timeframe: str, quiet: float) -> None:
    minutes = with_gap(generated(3_000, seed=4, quiet=quiet), 1_234, 77).window(3_000, 2_993)

    built = aggregate(minutes, timeframe)

    np.testing.assert_array_equal(built.rows, by_hand(minutes, timeframe))
    assert built.timeframe == timeframe


@pytest.mark.parametrize(("minutes_file", "higher_file"), RECORDED_PAIRS)
def test_5m_candles_built_from_minutes_equal_those_of_the_exchange(minutes_file: str, higher_file: str) -> None:
    recorded_minutes, recorded_higher = recording(minutes_file), recording(higher_file)
    if recorded_minutes is None or recorded_higher is None:  # a bare clone: the same rule on generated candles
        recorded_minutes = with_gap(generated(3_000, seed=len(minutes_file), quiet=0.3), 1_000, 80)
        recorded_higher = Candles.from_rows(np.array(by_hand(recorded_minutes, "5m")), "5m")

    built = aggregate(recorded_minutes, "5m").rows

    first, last = recorded_minutes.open_time[0], recorded_minutes.closed_at[-1]
    built = built[(built[:, 0] >= first) & (built[:, 0] + FIVE_MINUTES <= last)]
    expected = recorded_higher.rows
    expected = expected[(expected[:, 0] >= built[0, 0]) & (expected[:, 0] <= built[-1, 0])]
    assert len(built) > 500
    np.testing.assert_array_equal(built, expected)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6, 1e11])
def test_volumes_add_up_as_decimals_do_whatever_their_size(size: float) -> None:
    rows = generated(300).rows
    rows[:, 5] = [round(float(f"{volume * size:.8g}"), 8) for volume in rows[:, 5]]
    minutes = Candles.from_rows(rows, "1m")

    np.testing.assert_array_equal(aggregate(minutes, "15m").rows, by_hand(minutes, "15m"))


def test_a_period_without_any_minute_gives_no_candle() -> None:
    built = aggregate(with_gap(generated(60), 30, 80), "5m")

    steps = [(later - earlier) / FIVE_MINUTES for earlier, later in pairwise(built.open_time.tolist())]
    assert sorted(set(steps)) == [1.0, 17.0]


def test_no_minutes_give_no_candles_and_one_minute_gives_one() -> None:
    minutes = generated(10)

    assert len(aggregate(minutes.window(0, 0), "5m")) == 0
    np.testing.assert_array_equal(aggregate(minutes.window(1, 1), "5m").rows, minutes.rows[:1])


def test_only_minutes_can_be_aggregated_and_only_to_known_timeframes() -> None:
    with pytest.raises(ValueError, match="built from 1m candles, not from 5m"):
        aggregate(generated(10, timeframe="5m"), "15m")
    with pytest.raises(ValueError, match="unknown timeframe '7m'"):
        aggregate(generated(10), "7m")


def test_equal_candles_have_equal_digests_wherever_they_come_from() -> None:
    candles = generated(200)

    again = Candles.from_packed(candles.rows.astype("<f8").tobytes(), "1m")

    assert candles.digest() == again.digest()
    assert candles.window(150, 100).digest() == again.window(150, 100).digest()
    assert len(candles.digest()) == 16


@pytest.mark.parametrize("row", [0, 57, 99])
@pytest.mark.parametrize("column", range(6))
def test_the_smallest_change_of_any_value_changes_the_digest(row: int, column: int) -> None:
    rows = generated(100).rows
    before = Candles.from_rows(rows, "1m").digest()
    rows[row, column] = np.nextafter(rows[row, column], np.inf)

    assert Candles.from_rows(rows, "1m").digest() != before


def test_the_timeframe_and_the_number_of_candles_are_part_of_the_digest() -> None:
    candles = generated(100)

    digests = {
        candles.digest(),
        Candles.from_rows(candles.rows, "2m").digest(),
        candles.window(99, 99).digest(),
        candles.window(100, 99).digest(),
        candles.window(0, 0).digest(),
    }

    assert len(digests) == 5


def test_a_window_ends_before_its_end_and_starts_where_the_series_starts() -> None:
    candles = generated(10)

    np.testing.assert_array_equal(candles.window(7, 3).open_time, candles.open_time[4:7])
    assert len(candles.window(2, 5)) == 2
    assert np.shares_memory(candles.window(7, 3).close, candles.close)


def test_up_to_keeps_the_candles_closed_at_or_before_an_instant() -> None:
    candles = generated(10)
    fourth_close = candles.closed_at[3]

    assert len(candles.up_to(fourth_close)) == 4
    assert len(candles.up_to(fourth_close - 1)) == 3
    assert len(candles.up_to(0)) == 0


def test_candles_of_a_wrong_shape_or_timeframe_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(n, 6\) array of float64, not shape \(3, 5\)"):
        Candles.from_rows(np.zeros((3, 5)), "1m")
    with pytest.raises(ValueError, match="unknown timeframe '9m'; choose one of 1m, 2m"):
        Candles.from_rows(np.zeros((3, 6)), "9m")
