from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from redis import Redis

from engine.candles import STORE_SIZE
from market.candles import Block, write_candles
from market.store import CandleStore
from market.tests.test_candles import NOW, rows_of


@pytest.fixture
def store(live: Redis) -> CandleStore:
    return CandleStore()


def test_what_is_put_is_loaded(store: CandleStore) -> None:
    rows = {ticker_id: rows_of(50, seed=ticker_id) for ticker_id in range(1, 251)}
    store.replace([Block(ticker_id, "2m", part) for ticker_id, part in rows.items()])

    loaded = store.load(list(rows), "2m")

    assert list(loaded) == list(rows)
    assert all(np.array_equal(loaded[ticker_id].rows, part) for ticker_id, part in rows.items())
    assert loaded[1].timeframe == "2m"


def test_appending_is_ordered_and_may_be_done_twice(store: CandleStore) -> None:
    rows = rows_of(10)
    store.replace([Block(7, "1m", rows[:4])])

    for _ in range(2):
        assert store.append([Block(7, "1m", rows[2:8], previous=rows[1, 0])]) == []
    assert store.append([Block(7, "1m", rows[5:6], previous=rows[4, 0])]) == []

    assert np.array_equal(store.load([7], "1m")[7].rows, rows[:8])


def test_only_the_newest_are_kept(store: CandleStore, live: Redis) -> None:
    rows = rows_of(2 * STORE_SIZE + 10)
    store.replace([Block(7, "1m", rows[: STORE_SIZE + 5])])
    assert live.strlen("candles:7:1m") == STORE_SIZE * 48

    store.append([Block(7, "1m", rows[STORE_SIZE + 5 : STORE_SIZE + 7])])
    assert np.array_equal(store.load([7], "1m")[7].rows, rows[7 : STORE_SIZE + 7])

    store.append([Block(7, "1m", rows[STORE_SIZE + 7 :])])
    assert np.array_equal(store.load([7], "1m")[7].rows, rows[-STORE_SIZE:])
    assert live.strlen("candles:7:1m") == STORE_SIZE * 48


def test_a_key_that_is_missing_or_has_missed_a_candle_is_told(store: CandleStore, live: Redis) -> None:
    rows = rows_of(6)
    store.replace([Block(7, "1m", rows[:3]), Block(8, "1m", rows[:4])])

    behind = store.append([Block(key, "1m", rows[4:5], previous=rows[3, 0]) for key in (7, 8, 9)])

    assert behind == [(7, "1m"), (9, "1m")]
    assert live.get("candles:7:1m") == rows[:3].tobytes()
    assert live.get("candles:9:1m") is None
    assert live.get("candles:8:1m") == rows[:5].tobytes()


@pytest.mark.django_db
def test_refilling_takes_what_postgres_has(store: CandleStore) -> None:
    rows = rows_of(STORE_SIZE + 20)
    write_candles([Block(7, "1m", rows), Block(7, "2m", rows[:2])], received_at=NOW)
    store.replace([Block(7, "1m", rows[:3])])

    store.refill([(7, "1m"), (7, "2m"), (8, "1m")])

    assert store.last_open_times([(7, "1m"), (7, "2m"), (8, "1m")]) == {
        (7, "1m"): rows[-1, 0],
        (7, "2m"): rows[1, 0],
    }
    assert np.array_equal(store.load([7], "1m")[7].rows, rows[-STORE_SIZE:])


@pytest.mark.django_db
def test_a_reader_heals_an_emptied_store(store: CandleStore, live: Redis) -> None:
    rows = rows_of(30)
    write_candles([Block(7, "1m", rows)], received_at=NOW)

    loaded = store.load([7, 8], "1m")

    assert np.array_equal(loaded[7].rows, rows)
    assert len(loaded[8]) == 0
    assert live.get("candles:7:1m") == rows.tobytes()
    assert not live.exists("candles:8:1m")


@pytest.mark.django_db
def test_a_reader_does_without_the_store(live: Redis) -> None:
    rows = rows_of(30)
    write_candles([Block(7, "1m", rows)], received_at=NOW)
    nobody = Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=1)

    assert np.array_equal(CandleStore(nobody).load([7], "1m")[7].rows, rows)


def _not_finite(packed: bytes) -> bytes:
    return packed[:-8] + np.array([np.nan]).tobytes()


def _out_of_order(packed: bytes) -> bytes:
    return packed[48:] + packed[:48]


SPOILT = [lambda packed: packed[:-7], _not_finite, _out_of_order, lambda packed: b"<html>502</html>"]


@pytest.mark.django_db
@pytest.mark.parametrize("spoil", SPOILT)
def test_what_is_no_array_of_candles_is_discarded_and_read_from_postgres(
    store: CandleStore, live: Redis, spoil: Callable[[bytes], bytes]
) -> None:
    rows = rows_of(30)
    write_candles([Block(7, "1m", rows), Block(8, "1m", rows)], received_at=NOW)
    live.set("candles:7:1m", spoil(rows.tobytes()))
    live.set("candles:8:1m", rows.tobytes())

    loaded = store.load([7, 8], "1m")

    assert np.array_equal(loaded[7].rows, rows)
    assert np.array_equal(loaded[8].rows, rows)
    assert live.get("candles:7:1m") == rows.tobytes()


@pytest.mark.parametrize("spoil", [lambda packed: packed[:-7], lambda packed: packed[:-48] + b"\xff" * 48])
def test_what_cannot_be_appended_to_is_told(store: CandleStore, live: Redis, spoil: Callable[[bytes], bytes]) -> None:
    rows = rows_of(4)
    spoilt = spoil(rows[:3].tobytes())
    live.set("candles:7:1m", spoilt)

    assert store.append([Block(7, "1m", rows[3:], previous=rows[2, 0])]) == [(7, "1m")]
    assert live.get("candles:7:1m") == spoilt


@pytest.mark.django_db
def test_a_store_that_hangs_is_waited_for_once(settings: Any) -> None:
    rows = rows_of(30)
    write_candles([Block(7, "1m", rows)], received_at=NOW)
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0.1)
        settings.LIVE_URL = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        hanging = CandleStore()
        for _ in range(3):
            assert np.array_equal(hanging.load([7], "1m")[7].rows, rows)
        with contextlib.suppress(TimeoutError):
            while True:
                asked.append(silent.accept())

    assert len(asked) == 1
    asked[0][0].close()


def test_a_restarted_server_has_forgotten_the_script_and_is_taught_again(store: CandleStore, live: Redis) -> None:
    rows = rows_of(3)
    store.replace([Block(7, "1m", rows[:1])])
    store.append([Block(7, "1m", rows[1:2])])

    live.script_flush()
    store.append([Block(7, "1m", rows[2:3])])

    assert np.array_equal(store.load([7], "1m")[7].rows, rows)
