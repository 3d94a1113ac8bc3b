from __future__ import annotations

import csv
import hashlib
import io
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from dashboard.api import record as record_api
from dashboard.tests.records import GOOD, NOON, call, document, lately, outcome, publish, row, run_centrally, seal
from market import clock
from market.candles import Block, write_candles
from market.models import Ticker
from signals.models import Call, Configuration, Horizon, LedgerEntry, Signal
from signals.services.evaluation import to_ms
from signals.services.ledger import write_ledger
from signals.services.record import Grouping, Side

EXPORTS = ["/record/record.csv", "/record/record.json", "/record/ledger.json"]
PAIR_EXPORTS = [f"/record/rsi/T00USDT/{name}" for name in ("calls.csv", "calls.json", "data.json")]


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def pair(rsi: Configuration, tickers: list[Ticker]) -> list[Call]:
    """Two calls of RSI on T00USDT: a scored BUY, and a SELL before it that cannot be scored."""
    newer = call(rsi, tickers[0], lately())
    older = call(rsi, tickers[0], lately(90), signal=Signal.SELL, previous_signal=Signal.BUY)
    outcome(newer, Horizon.H1, 0.0058125)
    outcome(older, Horizon.H1, None, reason="no exit candle")
    return [newer, older]


@pytest.mark.parametrize("address", [*EXPORTS, *PAIR_EXPORTS])
def test_a_user_and_a_stranger_get_the_same(client: Client, bob: User, pair: list[Call], address: str) -> None:
    publish(document())
    seal(2)
    stranger = client.get(address)
    client.force_login(bob)

    response = client.get(address)

    assert response.status_code == 200
    assert response.content == stranger.content
    assert response["Cache-Control"] == stranger["Cache-Control"] == "public, max-age=60"
    assert "Cookie" not in response.get("Vary", "")
    assert not response.cookies


@pytest.mark.parametrize("address", [*EXPORTS, *PAIR_EXPORTS])
def test_exports_answer_head_and_take_no_post(client: Client, pair: list[Call], address: str) -> None:
    publish(document())

    assert client.head(address).status_code == 200
    assert client.post(address).status_code == 405


def test_the_json_is_the_document_itself(client: Client, db: None) -> None:
    kept = publish(document(by=Grouping.TICKER, side=Side.SELL, horizon=1440))

    reply = client.get("/record/record.json?horizon=1440&side=sell&by=ticker")

    assert reply["Content-Type"] == "application/json"
    assert reply.json() == kept.document


def test_the_csv_has_every_row_and_says_of_which_market_it_is(client: Client, db: None) -> None:
    record = document()
    publish(record)

    response = client.get("/record/record.csv")
    rows = read_csv(response.content.decode())

    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"] == 'attachment; filename="record-algorithm-all-240.csv"'
    assert [one["label"] for one in rows] == ["RSI", "MACD", "ADX / DMI"]
    for one in rows:
        assert (one["is_simulated"], one["exchange"], one["horizon"], one["side"]) == (
            "true",
            "simulated",
            "240",
            "all",
        )
        assert one["built_at"] == "2026-11-20T12:00:00.000Z"
    bad = rows[1]
    assert float(bad["mean"]) == record.rows[1].summary.mean
    assert bad["mean"].startswith("-")  # a number, not text
    assert (bad["scored"], bad["is_running"], bad["is_few"]) == ("60", "false", "false")


def test_no_export_is_a_formula_for_a_spreadsheet(client: Client, db: None) -> None:
    hostile = ['=HYPERLINK("http://evil")', "+1", "-1", "@SUM(A1)", "\tx", "\rx"]
    publish(document([row(f"key {number}", GOOD, label=label) for number, label in enumerate(hostile)]))

    rows = read_csv(client.get("/record/record.csv").content.decode())

    assert [one["label"] for one in rows] == [f"'{label}" for label in hostile]


@pytest.mark.parametrize(
    "query", ["horizon=61", "horizon=", "side=short", "by=user", "horizon=%00", "by=algorithm%27--"]
)
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_record_that_is_never_made_is_refused_with_what_there_is(
    client: Client, db: None, query: str, kind: str
) -> None:
    publish(document())

    response = client.get(f"/record/record.{kind}?{query}")

    assert response.status_code == 404
    assert "one of" in response.json()["error"]["detail"]


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_before_the_first_record_the_exports_say_so(client: Client, db: None, kind: str) -> None:
    response = client.get(f"/record/record.{kind}")

    assert response.status_code == 404
    assert "no record yet" in response.json()["error"]["detail"]


def test_the_ledger_is_the_whole_chain_oldest_first(client: Client, db: None) -> None:
    entries = seal(40)

    reply = client.get("/record/ledger.json").json()

    assert (reply["v"], reply["is_simulated"], reply["exchange"]) == (1, True, "simulated")
    assert [one["digest"] for one in reply["entries"]] == [one.digest for one in entries]
    assert reply["entries"][0]["day"] < reply["entries"][-1]["day"]


def test_calls_carry_all_that_made_them(client: Client, pair: list[Call], rsi: Configuration) -> None:
    reply = client.get("/record/rsi/T00USDT/calls.json").json()

    newer, older = reply["calls"]
    assert (reply["is_simulated"], reply["older"]) == (True, None)
    assert (newer["id"], older["id"]) == (pair[0].pk, pair[1].pk)
    assert newer["configuration"] == rsi.digest
    assert newer["candles_digest"] == bytes(range(16)).hex()
    assert newer["outcomes"][0]["net_return"] == 0.0058125
    assert older["outcomes"][0]["reason"] == "no exit candle"


def test_the_csv_of_calls_has_a_line_for_each_horizon(client: Client, pair: list[Call]) -> None:
    rows = read_csv(client.get("/record/rsi/T00USDT/calls.csv").content.decode())

    assert [(one["id"], one["horizon"], one["status"]) for one in rows] == [
        (str(pair[0].pk), "60", "scored"),
        (str(pair[0].pk), "240", "pending"),
        (str(pair[0].pk), "1440", "pending"),
        (str(pair[1].pk), "60", "unscorable"),
        (str(pair[1].pk), "240", "pending"),
        (str(pair[1].pk), "1440", "pending"),
    ]
    assert {one["is_simulated"] for one in rows} == {"true"}
    assert (rows[0]["side"], rows[3]["side"]) == ("buy", "sell")
    assert rows[0]["net_return"] == "0.0058125"
    assert rows[3]["reason"] == "no exit candle"
    assert rows[0]["published_at"].endswith(":02.345Z")


def test_more_calls_than_an_export_holds_have_an_address(
    client: Client, pair: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_api, "EXPORTED_CALLS", 1)

    reply = client.get("/record/rsi/T00USDT/calls.json").json()
    rest = client.get(reply["older"]).json()
    link = client.get("/record/rsi/T00USDT/calls.csv")["Link"]

    assert [one["id"] for one in reply["calls"]] == [pair[0].pk]
    assert [one["id"] for one in rest["calls"]] == [pair[1].pk]
    assert rest["older"] is None
    assert link == f'</record/rsi/T00USDT/calls.csv?before={to_ms(pair[0].candle_closed_at)}>; rel="next"'


def test_the_chart_shows_no_candle_and_no_call_before_its_time(
    client: Client, rsi: Configuration, tickers: list[Ticker], settings: Settings
) -> None:
    newest = clock.now().replace(second=0, microsecond=0)
    opened = to_ms(newest) - np.arange(20, 0, -1) * 120_000.0
    rows = np.column_stack((opened, *(np.full(20, 100.0) for _ in range(4)), np.full(20, 5.0)))
    write_candles([Block(tickers[0].pk, "2m", rows)], received_at=newest)
    call(rsi, tickers[0], newest - timedelta(minutes=20))
    call(rsi, tickers[0], newest - timedelta(minutes=2), signal=Signal.SELL)

    reply = client.get("/record/rsi/T00USDT/data.json").json()

    assert (reply["timeframe"], reply["tick_size"]) == ("2m", 0.01)
    latest = to_ms(clock.now() - settings.PUBLIC_DELAY)
    assert max(candle[0] for candle in reply["candles"]) + 120_000 <= latest
    assert max(candle[0] for candle in reply["candles"]) + 240_000 > latest  # and not later than it must
    assert reply["calls"] == [{"closed_at": to_ms(newest - timedelta(minutes=20)), "signal": "BUY"}]


@pytest.mark.parametrize("name", ["calls.csv", "calls.json", "data.json"])
@pytest.mark.parametrize("pair_path", ["rsi/NOPEUSDT", "nope/T00USDT", "rsi/T00USDT%00", "rsi/%F0%9F%92%A9"])
def test_an_unknown_pair_is_a_404_as_json(client: Client, pair: list[Call], pair_path: str, name: str) -> None:
    response = client.get(f"/record/{pair_path}/{name}")

    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("before", ["", "x", "1e3", "9" * 30, "9" * 5000, "-" + "9" * 30, "%00"])
def test_an_instant_that_is_none_is_a_404(client: Client, pair: list[Call], before: str) -> None:
    assert client.get(f"/record/rsi/T00USDT/calls.json?before={before}").status_code == 404


def test_many_calls_take_no_more_queries_than_few(
    client: Client, rsi: Configuration, tickers: list[Ticker], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(25):
        made = call(rsi, tickers[0], lately(60 + 2 * number))
        outcome(made, Horizon.H1, 0.01)

    with django_assert_num_queries(6):  # ticker, configurations, cells; calls, outcomes
        assert len(client.get("/record/rsi/T00USDT/calls.json").json()["calls"]) == 25


def test_the_text_of_a_day_makes_its_digest(
    client: Client, central: list[Configuration], tickers: list[Ticker]
) -> None:
    day = datetime(2026, 11, 20, tzinfo=UTC)
    run_centrally(central[0], since=day)
    for minutes in (10, 20):
        call(central[0], tickers[0], day + timedelta(minutes=minutes))
    [link] = write_ledger(market_now=day + timedelta(days=1, hours=1), now=day)

    text = client.get("/record/ledger/2026-11-20.txt").content

    assert text.count(b"\n") == link.calls == 2
    assert hashlib.sha256(link.previous_digest.encode() + b"\n" + text).hexdigest() == link.digest


@pytest.mark.parametrize(
    "address",
    [
        "/record/ledger/2026-11-21.txt",
        "/record/ledger/2026-02-31.txt",
        "/record/ledger/2026-11-20.txt?after=x",
        "/record/ledger/2026-11-20.txt?after=99999999999999999999999",
    ],
)
def test_a_day_that_is_not_in_the_ledger_is_not_found(client: Client, db: None, address: str) -> None:
    LedgerEntry.objects.create(day=date(2026, 11, 20), calls=0, previous_digest="0", digest="1", made_at=NOON)

    assert client.get(address).status_code == 404
