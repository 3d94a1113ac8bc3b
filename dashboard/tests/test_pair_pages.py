from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from dashboard.tests.conftest import make_ticker
from dashboard.tests.records import GOOD, call, cell, document, lately, outcome, publish, read
from market.models import Ticker
from signals.models import CentralSpan, Configuration, Horizon, Signal
from signals.services.evaluation import to_ms


def test_a_call_is_shown_with_all_that_made_it(client: Client, rsi: Configuration, tickers: list[Ticker]) -> None:
    made = call(rsi, tickers[0], lately(), signal=Signal.SELL, previous_signal=Signal.BUY)
    outcome(made, Horizon.H1, -0.0058)
    outcome(made, Horizon.H4, None, reason="no exit candle")
    cell(rsi, tickers[0], Horizon.H1, GOOD)

    page = read(client, "/record/rsi/T00USDT/")

    for shown in (
        "RSI on T00USDT",
        "After 1 h 65 60",  # calls, and those that do not overlap
        "64,123.40",
        "29.1234",
        "\u22120.58 %",
        "64,000.00 → 64,500.00",
        "unscorable no exit candle",
        "pending",
        "Move avoided, net",
        f"{made.candle_closed_at:%Y-%m-%d %H:%M:%S} UTC",
        f"{made.published_at:%Y-%m-%d %H:%M:%S}.345 UTC",
        "Signal before BUY",
        "period 14",
        rsi.digest,
        bytes(range(16)).hex(),
        f"python manage.py verify_call {made.pk}",
    ):
        assert shown in page


def test_calls_come_in_pages(
    client: Client, rsi: Configuration, tickers: list[Ticker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.views.record.CALLS", 2)
    made = [call(rsi, tickers[0], lately(60 + 2 * number)) for number in range(3)]
    older = f"?before={to_ms(made[1].candle_closed_at)}"

    first = client.get("/record/rsi/T00USDT/").content.decode()
    second = client.get(f"/record/rsi/T00USDT/{older}").content.decode()

    assert f'href="{older}#calls-heading"' in first
    assert [f"verify_call {one.pk}<" in first for one in made] == [True, True, False]
    assert [f"verify_call {one.pk}<" in second for one in made] == [False, False, True]
    assert "?before=" not in second
    assert "Newest calls" in second


def test_what_is_not_public_yet_is_not_shown(client: Client, rsi: Configuration, tickers: list[Ticker]) -> None:
    made = call(rsi, tickers[0], lately(5))

    page = client.get("/record/rsi/T00USDT/").content.decode()

    assert f"verify_call {made.pk}<" not in page
    assert "No call of this algorithm on this ticker is public yet" in page
    assert "Nothing of this pair has been scored yet" in page


@pytest.mark.parametrize("symbol", ["BTC/USDT", "币安人生USDT"])
def test_symbols_of_every_exchange_have_a_page(client: Client, rsi: Configuration, symbol: str) -> None:
    make_ticker(symbol)

    assert f"RSI on {symbol}" in read(client, f"/record/rsi/{symbol}/")
    assert client.get(f"/record/rsi/{symbol}/data.json").json()["ticker"] == symbol


@pytest.mark.parametrize("pair", ["rsi/NOPEUSDT", "nope/T00USDT", "rsi/T00USDT%00", "rsi/T00USDT/x", "rsi/..%2f.."])
def test_an_unknown_pair_is_a_decent_404(client: Client, rsi: Configuration, tickers: list[Ticker], pair: str) -> None:
    response = client.get(f"/record/{pair}/")

    assert response.status_code == 404
    assert "There is nothing at this address" in response.content.decode()


def test_an_algorithm_the_central_feed_never_ran_has_no_page(
    client: Client, own: Configuration, tickers: list[Ticker]
) -> None:
    CentralSpan.objects.all().delete()

    assert client.get(f"/record/{own.algorithm_id}/T00USDT/").status_code == 404


@pytest.mark.parametrize("before", ["", "x", "9" * 30, "9" * 5000, "%00"])
def test_an_instant_that_is_none_is_a_404(
    client: Client, rsi: Configuration, tickers: list[Ticker], before: str
) -> None:
    assert client.get(f"/record/rsi/T00USDT/?before={before}").status_code == 404


def test_many_calls_take_no_more_queries_than_few(
    client: Client, rsi: Configuration, tickers: list[Ticker], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(25):
        outcome(call(rsi, tickers[0], lately(60 + 2 * number)), Horizon.H1, 0.01)

    with django_assert_num_queries(8):  # ticker, configurations, cells; calls, outcomes; what there is to choose from
        assert client.get("/record/rsi/T00USDT/").status_code == 200


# --- The way to a pair ------------------------------------------------------------------------------------------------


def test_a_row_leads_to_its_newest_call(client: Client, rsi: Configuration, tickers: list[Ticker]) -> None:
    call(rsi, tickers[3], lately())
    call(rsi, tickers[4], lately(90))
    publish(document())

    assert 'href="/record/pair/?algorithm=rsi"' in client.get("/record/").content.decode()
    assert client.get("/record/pair/?algorithm=rsi")["Location"] == "/record/rsi/T03USDT/"
    assert client.get("/record/pair/?ticker=T04USDT")["Location"] == "/record/rsi/T04USDT/"
    assert client.get("/record/pair/")["Location"] == "/record/rsi/T03USDT/"


def test_a_pair_is_found_by_name(client: Client, rsi: Configuration) -> None:
    location = client.get("/record/pair/", {"algorithm": "rsi", "ticker": " btc/usdt "})["Location"]

    assert location == "/record/rsi/BTC/USDT/"


@pytest.mark.parametrize(
    "query", ["algorithm=macd", "ticker=NOPE", "algorithm=%00", "ticker=%00", "algorithm=//evil.example&ticker=x"]
)
def test_what_leads_nowhere_is_a_404(client: Client, rsi: Configuration, query: str) -> None:
    assert client.get(f"/record/pair/?{query}").status_code == 404


def test_the_signals_page_knows_the_way_to_a_pairs_record(client: Client, bob: User) -> None:
    client.force_login(bob)

    assert '"record": "/record/__algorithm__/__ticker__/"' in client.get("/").content.decode()


def test_a_ticker_that_does_not_exist_is_told_apart_from_one_without_calls(
    client: Client, rsi: Configuration, tickers: list[Ticker]
) -> None:
    assert "There is no ticker FOOBAR." in client.get("/record/pair/?ticker=foobar").content.decode()
    assert "No call of this is public yet" in client.get("/record/pair/?ticker=T00USDT").content.decode()
