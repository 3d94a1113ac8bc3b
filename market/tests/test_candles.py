from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from engine.candles import TIMEFRAMES, Float64s
from market.candles import Block, last_open_times, load_candles, load_newest, write_candles, write_revisions
from market.models import Candle, CandleRevision

START = datetime(2026, 11, 20, 23, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def rows_of(number: int, *, timeframe: str = "1m", start: datetime = START, seed: int = 1) -> Float64s:
    """Plausible candles, one after another: (number, 6)."""
    random = np.random.default_rng(seed)
    opens = start.timestamp() * 1000 + np.arange(number) * TIMEFRAMES[timeframe]
    prices = 100 + random.normal(size=(number, 2)).cumsum(axis=0)
    return np.column_stack(
        (opens, prices[:, 0], prices.max(axis=1) + 1, prices.min(axis=1) - 1, prices[:, 1], random.random(number))
    )


def test_candles_are_read_as_they_were_written_across_midnight() -> None:
    rows = rows_of(120)

    written = write_candles([Block(7, "1m", rows)], received_at=NOW)

    assert (written.inserted, written.revised) == (120, 0)
    assert np.array_equal(load_candles(7, "1m").rows, rows)
    first = Candle.objects.order_by("open_time")[0]
    assert (first.ticker_id, first.open_time, first.received_at) == (7, START, NOW)


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_every_timeframe_has_its_partitions(timeframe: str) -> None:
    rows = rows_of(50, timeframe=timeframe)

    write_candles([Block(7, timeframe, rows)], received_at=NOW)

    assert np.array_equal(load_candles(7, timeframe).rows, rows)


def test_writing_again_changes_nothing() -> None:
    rows = rows_of(20)
    write_candles([Block(7, "1m", rows[:15])], received_at=NOW)

    written = write_candles([Block(7, "1m", rows)], received_at=NOW + timedelta(hours=1))

    assert (written.inserted, written.revised) == (5, 0)
    assert Candle.objects.filter(received_at=NOW).count() == 15


def test_a_later_different_value_becomes_a_revision_once() -> None:
    rows = rows_of(3)
    write_candles([Block(7, "1m", rows)], received_at=NOW)
    changed = rows.copy()
    changed[1, 4] += 0.5

    for _ in range(2):
        write_candles([Block(7, "1m", changed)], received_at=NOW + timedelta(minutes=1))

    assert np.array_equal(load_candles(7, "1m").rows, rows)
    revision = CandleRevision.objects.get()
    assert (revision.open_time, revision.close) == (START + timedelta(minutes=1), changed[1, 4])
    assert revision.seen_at == NOW + timedelta(minutes=1)


def test_a_sum_of_volumes_that_differs_in_its_last_bits_is_no_revision() -> None:
    rows = rows_of(1, timeframe="5m")
    write_candles([Block(7, "5m", rows)], received_at=NOW)
    rows[0, 5] = np.nextafter(rows[0, 5], 1e9)

    assert write_revisions([Block(7, "5m", rows)], seen_at=NOW) == 0


def test_a_value_for_a_candle_that_never_was_is_a_revision_too() -> None:
    assert write_revisions([Block(7, "1m", rows_of(1))], seen_at=NOW) == 1
    assert not Candle.objects.exists()


def test_only_what_had_closed_is_loaded() -> None:
    rows = rows_of(10)
    write_candles([Block(7, "1m", rows)], received_at=NOW)

    loaded = load_candles(7, "1m", START + timedelta(minutes=6), limit=4)

    assert np.array_equal(loaded.rows, rows[2:6])


def test_many_tickers_are_loaded_at_once() -> None:
    rows = {ticker_id: rows_of(30, seed=ticker_id) for ticker_id in (3, 9, 12)}
    write_candles([Block(ticker_id, "2m", part) for ticker_id, part in rows.items()], received_at=NOW)

    loaded = load_newest([12, 3, 5, 9, 3], "2m", limit=20)

    assert list(loaded) == [12, 3, 5, 9]
    assert len(loaded[5]) == 0
    for ticker_id, part in rows.items():
        assert np.array_equal(loaded[ticker_id].rows, part[-20:])


def test_the_newest_candle_of_each_is_known() -> None:
    rows = rows_of(5)
    write_candles([Block(7, "1m", rows), Block(8, "1m", rows[:2]), Block(7, "5m", rows[:1])], received_at=NOW)

    assert last_open_times([7, 8, 9], ["1m", "5m"]) == {
        (7, "1m"): rows[4, 0],
        (8, "1m"): rows[1, 0],
        (7, "5m"): rows[0, 0],
    }


def test_nothing_to_write_is_no_error() -> None:
    assert write_candles([Block(7, "1m", np.empty((0, 6)))], received_at=NOW).inserted == 0
