from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.test import override_settings
from pytest_django import Settings

from exchanges.base import Symbol
from exchanges.simulator import SimulatorConfig, running_in_thread
from market import tasks
from market.models import Ticker, Universe
from market.services import EmptyListing, PopulateCounts, bootstrap_universe, get_available_tickers, populate_tickers

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
VOLUMES = {"BTCUSDT": 9e9, "ETHUSDT": 4e9, "ETHBTC": 500.0, "DOGEUSDT": 2e6, "币安人生USDT": 7e6}

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _real_market(settings: Settings) -> None:
    """The universe of a real market begins with one quote asset."""
    settings.IS_SIMULATED = False


def symbol_of(base: str, quote: str, *, is_trading: bool = True) -> Symbol:
    step = Decimal("0.00000001")
    return Symbol(base + quote, base, quote, is_trading, step, step, Decimal(5))


LISTED = [
    symbol_of("BTC", "USDT"),
    symbol_of("ETH", "USDT"),
    symbol_of("ETH", "BTC"),
    symbol_of("DOGE", "USDT"),
    symbol_of("币安人生", "USDT"),
    symbol_of("LUNA", "USDT", is_trading=False),
]


def discover(listed: list[Symbol] = LISTED, now: datetime = NOW) -> PopulateCounts:
    return populate_tickers(listed=listed, volumes=VOLUMES, exchange="simulated", now=now)


def followed() -> set[str]:
    return {ticker.symbol for ticker in Ticker.objects.filter(is_followed=True)}


def test_every_listed_market_becomes_a_ticker() -> None:
    counts = discover()

    assert counts == {"listed": 6, "created": 6, "halted": 1, "delisted": 0, "followed": 5}
    btc = Ticker.objects.get(symbol="BTCUSDT")
    assert (btc.base_asset, btc.quote_asset, btc.status) == ("BTC", "USDT", Ticker.Status.TRADING)
    assert (btc.tick_size, btc.min_notional, btc.quote_volume_24h) == (Decimal("0.00000001"), Decimal(5), 9e9)
    assert Ticker.objects.get(symbol="LUNAUSDT").status == Ticker.Status.HALTED


def test_available_are_those_that_are_followed_and_trade() -> None:
    discover()

    assert [ticker.symbol for ticker in get_available_tickers()] == ["BTCUSDT", "DOGEUSDT", "ETHUSDT", "币安人生USDT"]


def test_discovering_again_changes_nothing_but_what_changed() -> None:
    discover()
    discovered = Ticker.objects.in_bulk(field_name="id")

    counts = discover([replace(LISTED[0], tick_size=Decimal("0.1")), *LISTED[1:]], NOW + timedelta(hours=1))

    assert counts["created"] == counts["delisted"] == 0
    assert Ticker.objects.in_bulk(field_name="id").keys() == discovered.keys()
    assert Ticker.objects.get(symbol="BTCUSDT").tick_size == Decimal("0.1")
    assert Ticker.objects.get(symbol="BTCUSDT").discovered_at == NOW


def test_a_market_that_is_not_listed_any_more_is_marked_and_may_come_back() -> None:
    discover()

    counts = discover(LISTED[1:], NOW + timedelta(hours=1))

    gone = Ticker.objects.get(symbol="BTCUSDT")
    assert counts["delisted"] == 1
    assert (gone.status, gone.is_followed) == (Ticker.Status.DELISTED, False)
    assert gone.delisted_at == NOW + timedelta(hours=1)
    assert discover(LISTED[1:], NOW + timedelta(hours=2))["delisted"] == 0
    discover()
    back = Ticker.objects.get(symbol="BTCUSDT")
    assert (back.pk, back.status, back.is_followed, back.delisted_at) == (gone.pk, Ticker.Status.TRADING, True, None)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, {"BTCUSDT", "ETHUSDT", "DOGEUSDT", "币安人生USDT", "LUNAUSDT"}),
        ({"quote_assets": " btc , EUR"}, {"ETHBTC"}),
        ({"quote_assets": "", "minimum_volume": 1e6}, {"BTCUSDT", "ETHUSDT", "DOGEUSDT", "币安人生USDT"}),
        ({"minimum_volume": 1e9, "include": "DOGEUSDT ETHBTC"}, {"BTCUSDT", "ETHUSDT", "DOGEUSDT", "ETHBTC"}),
        ({"exclude": "BTCUSDT\nLUNAUSDT"}, {"ETHUSDT", "DOGEUSDT", "币安人生USDT"}),
        ({"include": "DOGEUSDT", "exclude": "DOGEUSDT", "maximum_tickers": 2}, {"BTCUSDT", "ETHUSDT"}),
        ({"include": "DOGEUSDT", "maximum_tickers": 2}, {"BTCUSDT", "DOGEUSDT"}),
        ({"maximum_tickers": 0}, set()),
    ],
)
def test_the_operators_rules_choose_what_is_followed(rules: dict[str, object], expected: set[str]) -> None:
    Universe.objects.create(exchange="simulated", **rules)

    counts = discover()

    assert followed() == expected
    assert counts["followed"] == len(expected)


def test_an_exchange_that_lists_nothing_is_not_believed() -> None:
    discover()
    before = list(Ticker.objects.order_by("id").values())

    with pytest.raises(EmptyListing):
        discover([])

    assert list(Ticker.objects.order_by("id").values()) == before


def test_the_markets_of_another_exchange_are_left_alone() -> None:
    discover()

    populate_tickers(listed=LISTED[:1], volumes={}, exchange="binance", now=NOW)

    assert Ticker.objects.filter(exchange="simulated").exclude(status=Ticker.Status.DELISTED).count() == 6
    assert Ticker.objects.filter(exchange="binance", is_followed=True).count() == 1
    assert {ticker.exchange for ticker in get_available_tickers()} == {"simulated"}


def test_an_operators_edit_of_the_universe_stays() -> None:
    Universe.objects.create(exchange="simulated", quote_assets="BTC")

    assert bootstrap_universe("simulated").quote_assets == "BTC"


def test_the_task_asks_the_exchange_and_says_what_it_did() -> None:
    with (
        running_in_thread(SimulatorConfig(tickers=40, stepped=True)) as simulator,
        override_settings(SIMULATOR_URL=simulator.rest_url, IS_SIMULATED=True),
    ):
        first, second = tasks.populate_tickers(), tasks.populate_tickers(asked_by="a newer version")

    assert first["listed"] == first["created"] == Ticker.objects.count() == 40
    assert second["created"] == 0
    assert len(followed()) == 40, "a simulated market is followed whole"
