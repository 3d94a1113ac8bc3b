from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from pytest_django import Settings

from market.candles import Block, write_candles, write_revisions
from market.models import HeartbeatStatus, Ticker, Universe
from market.tests.test_candles import rows_of
from market.tests.test_discovery import discover

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def oscar(client: Client, settings: Settings) -> Client:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # real hashing is slow on purpose
    client.force_login(get_user_model().objects.create_superuser("oscar", "oscar@example.com", "a long password"))
    return client


@pytest.fixture
def btc() -> Ticker:
    """BTCUSDT with an hour of candles, of which one was revised."""
    discover()
    ticker = Ticker.objects.get(symbol="BTCUSDT")
    rows = rows_of(60, start=NOON)
    write_candles([Block(ticker.pk, "1m", rows), Block(ticker.pk, "2m", rows[:5])], received_at=NOON)
    rows[7, 4] += 0.25
    write_revisions([Block(ticker.pk, "1m", rows[7:8])], seen_at=NOON)
    HeartbeatStatus.objects.create(exchange="simulated", updated_at=NOON)
    return ticker


@pytest.mark.parametrize("model", ["universe", "ticker", "candle", "candlerevision", "heartbeatstatus"])
def test_every_list_opens(oscar: Client, btc: Ticker, model: str) -> None:
    assert oscar.get(f"/admin/market/{model}/").status_code == 200


@pytest.mark.parametrize(("model", "number"), [("candle", 65), ("candlerevision", 1)])
def test_candles_are_shown_for_one_ticker_and_day(oscar: Client, btc: Ticker, model: str, number: int) -> None:
    shown = oscar.get(f"/admin/market/{model}/", {"q": "btcusdt 2026-11-21"})
    day_before = oscar.get(f"/admin/market/{model}/", {"q": "BTCUSDT 2026-11-20"})

    assert shown.context["cl"].result_count == number
    assert day_before.context["cl"].result_count == 0


@pytest.mark.parametrize("search", ["", "BTCUSDT", "2026-11-21", "BTCUSDT yesterday"])
def test_without_ticker_and_day_nothing_is_read_and_a_hint_shown(oscar: Client, btc: Ticker, search: str) -> None:
    response = oscar.get("/admin/market/candle/", {"q": search} if search else {})

    assert response.context["cl"].result_count == 0
    assert "A ticker and a day (UTC), such as: BTCUSDT 2026-11-21" in response.content.decode()


def test_one_timeframe_can_be_chosen(oscar: Client, btc: Ticker) -> None:
    response = oscar.get("/admin/market/candle/", {"q": "BTCUSDT 2026-11-21", "timeframe__exact": "2m"})

    assert response.context["cl"].result_count == 5


@pytest.mark.parametrize("model", ["ticker", "candle", "candlerevision", "heartbeatstatus"])
def test_what_the_product_writes_is_read_only(oscar: Client, btc: Ticker, model: str) -> None:
    assert oscar.get(f"/admin/market/{model}/add/").status_code == 403
    assert oscar.post(f"/admin/market/{model}/{btc.pk}/delete/", {"post": "yes"}).status_code in (302, 403)
    assert Ticker.objects.filter(pk=btc.pk).exists()


def test_the_operator_edits_the_universe(oscar: Client, btc: Ticker) -> None:
    universe = Universe.objects.get()

    oscar.post(
        f"/admin/market/universe/{universe.pk}/change/",
        {"exchange": "simulated", "quote_assets": "BTC", "minimum_volume": 0, "maximum_tickers": 5},
    )

    universe.refresh_from_db()
    assert universe.quote_assets == "BTC"


def test_the_age_of_the_last_message_is_known() -> None:
    status = HeartbeatStatus(exchange="simulated", last_message_at=NOON)

    assert status.age(NOON + timedelta(seconds=4)) == 4
    assert HeartbeatStatus(exchange="simulated").age(NOON) is None
