from __future__ import annotations

import numpy as np
import pytest
from django.test import Client

from accounts.models import User
from dashboard.tests.conftest import last_slot, make_ticker
from market.candles import Block
from market.models import Ticker
from market.store import CandleStore
from signals.models import AlgorithmPreferences

LENGTH_MS = 120_000


def give_candles(ticker: Ticker, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    first = last_slot().timestamp() * 1000 - count * LENGTH_MS
    steps = np.arange(count, dtype=np.float64)
    rows = np.column_stack((first + steps * LENGTH_MS, *(100 + steps + part for part in (0, 2, -2, 1)), steps + 5))
    CandleStore().replace([Block(ticker.pk, "2m", rows)])
    return rows


def test_the_last_five_hundred_candles_come_oldest_first(client: Client, bob: User, tickers: list[Ticker]) -> None:
    rows = give_candles(tickers[0], 700)
    client.force_login(bob)

    reply = client.get("/api/candles/T00USDT/2m/").json()

    assert (reply["ticker"], reply["timeframe"], reply["tick_size"]) == ("T00USDT", "2m", 0.01)
    assert reply["candles"] == rows[-500:].tolist()


def test_a_ticker_without_candles_has_an_empty_series(client: Client, bob: User) -> None:
    client.force_login(bob)

    assert client.get("/api/candles/T01USDT/1h/").json()["candles"] == []


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("/api/candles/T09USDT/2m/", "not_followed"),  # covered, but not followed by bob
        ("/api/candles/NOPEUSDT/2m/", "not_followed"),
        ("/api/candles/T00USDT/7m/", "no_such_timeframe"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_a_way_out(client: Client, bob: User, address: str, code: str) -> None:
    client.force_login(bob)

    response = client.get(address)

    assert response.status_code == 404
    assert response.json()["error"]["code"] == code
    assert len(response.json()["error"]["detail"]) > 20


@pytest.mark.parametrize("symbol", ["BTC/USDT", "币安人生USDT"])
def test_symbols_of_every_exchange_have_an_address(client: Client, bob: User, symbol: str) -> None:
    ticker = make_ticker(symbol)
    give_candles(ticker, 3)
    preference = AlgorithmPreferences.objects.for_user(bob).first()
    assert preference is not None
    preference.tickers.add(ticker)
    client.force_login(bob)

    reply = client.get(f"/api/candles/{symbol}/2m/").json()

    assert (reply["ticker"], len(reply["candles"])) == (symbol, 3)
