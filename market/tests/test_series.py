from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.candles import MINUTE_MS, Candles, aggregate
from market.heartbeat.series import NO_ROWS, Series
from market.tests.test_candles import rows_of

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
ROWS = rows_of(40, start=START)
BEGAN = int(ROWS[0, 0])


def started(*timeframes: str) -> Series:
    series = Series(7, "BTCUSDT")
    series.start(NO_ROWS, BEGAN, dict.fromkeys(timeframes, 0.0))
    series.is_busy = False
    return series


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
def test_whatever_the_order_minutes_come_out_in_order_and_once(order: list[int], repeated: set[int]) -> None:
    series = started("2m", "5m")
    out: dict[str, list[float]] = {"1m": [], "2m": [], "5m": []}

    for place in [*order, *repeated]:
        series.wait(tuple(ROWS[place].tolist()))
        for block in series.drain():
            out[block.timeframe] += block.rows[:, 0].tolist()
        series.take_outdated()

    assert series.settled == BEGAN + 12 * MINUTE_MS
    assert out["1m"] == ROWS[:12, 0].tolist()
    assert out["2m"] == ROWS[:12:2, 0].tolist()
    assert out["5m"] == ROWS[:10:5, 0].tolist()


def test_a_gap_lets_nothing_later_through_until_it_is_settled() -> None:
    series = started("5m")
    series.wait(tuple(ROWS[3].tolist()))
    assert series.drain() == []

    blocks = series.settle(ROWS[:1], BEGAN + 3 * MINUTE_MS) + series.drain()

    assert [block.rows[:, 0].tolist() for block in blocks] == [[ROWS[0, 0]], [ROWS[3, 0]]]
    assert blocks[1].previous == ROWS[0, 0]
    [_, five] = series.settle(ROWS[4:6], BEGAN + 6 * MINUTE_MS)
    assert five.timeframe == "5m"
    kept = np.delete(ROWS[:5], [1, 2], axis=0)
    assert np.allclose(five.rows, aggregate(Candles.from_rows(kept, "1m"), "5m").rows)


def test_a_period_without_any_minute_gives_no_candle() -> None:
    series = started("5m")

    assert series.settle(NO_ROWS, BEGAN + 10 * MINUTE_MS) == []
    [_, five] = series.settle(ROWS[10:15], BEGAN + 15 * MINUTE_MS)

    assert five.rows[:, 0].tolist() == [ROWS[10, 0]]


def test_each_block_names_the_candle_before_it() -> None:
    series = started("2m")
    first = series.settle(ROWS[:2], BEGAN + 2 * MINUTE_MS)
    second = series.settle(ROWS[2:4], BEGAN + 4 * MINUTE_MS)

    assert [(block.timeframe, block.previous) for block in first] == [("1m", 0), ("2m", 0)]
    assert [(block.timeframe, block.previous) for block in second] == [("1m", ROWS[1, 0]), ("2m", ROWS[0, 0])]


def test_sums_of_volumes_are_exact_decimals() -> None:
    rows = ROWS[:5].copy()
    rows[:, 5] = [0.1, 0.2, 0.3, 0.4, 0.00000001]
    series = started("5m")

    [_, five] = series.settle(rows, BEGAN + 5 * MINUTE_MS)

    assert five.rows[0, 5] == 1.00000001


def test_a_known_minute_is_told_from_another_value() -> None:
    series = started()
    series.settle(ROWS[:3], BEGAN + 3 * MINUTE_MS)
    known = tuple(ROWS[1].tolist())

    assert series.is_known(known)
    assert not series.is_known((*known[:5], known[5] + 1))
    assert not series.is_known(tuple(ROWS[9].tolist()))
