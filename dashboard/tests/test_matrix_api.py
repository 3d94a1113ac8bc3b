from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from billing.models import PlanGrant
from dashboard.tests.conftest import PERIOD, close_sweep, give_verdicts, last_slot, make_ticker, note_heartbeat
from market.models import Ticker
from signals.models import Call, Configuration
from signals.services.evaluation import to_ms

MATRIX = "/api/matrix/"


def matrix_of(client: Client, user: User) -> dict[str, Any]:
    client.force_login(user)
    response = client.get(MATRIX)
    assert response.status_code == 200
    return response.json()  # type: ignore[no-any-return]


@pytest.mark.parametrize("address", [MATRIX, "/api/calls/", "/api/candles/T00USDT/2m/"])
def test_strangers_get_nothing_and_are_told_why(client: Client, verdicts: None, address: str) -> None:
    response = client.get(address)

    assert response.status_code == 401
    assert response["Content-Type"] == "application/json"
    assert response.json() == {"error": {"code": "not_logged_in", "detail": "Your session has ended. Log in again."}}


def test_a_premium_user_sees_all_she_follows_and_her_own(
    client: Client, alice: User, own: Configuration, verdicts: None
) -> None:
    matrix = matrix_of(client, alice)

    assert len(matrix["tickers"]) == 30
    assert len(matrix["configurations"]) == 13
    assert len(matrix["cells"]) == 13 * 30
    assert own.pk in {configuration["id"] for configuration in matrix["configurations"]}


def test_a_column_of_ones_own_says_so_and_on_which_tickers_it_runs(
    client: Client, alice: User, own: Configuration, tickers: list[Ticker]
) -> None:
    preference = alice.algorithm_preferences.get(configuration=own)
    preference.all_tickers = False
    preference.save()
    preference.tickers.set(tickers[4:6])

    columns = {one["id"]: one for one in matrix_of(client, alice)["configurations"]}

    assert (columns[own.pk]["is_own"], columns[own.pk]["tickers"]) == (True, [tickers[4].pk, tickers[5].pk])
    others = [one for one in columns.values() if one["id"] != own.pk]
    assert {(one["is_own"], one["tickers"]) for one in others} == {(False, None)}


def test_a_free_user_sees_what_he_follows_and_no_more(
    client: Client, bob: User, central: list[Configuration], tickers: list[Ticker], verdicts: None
) -> None:
    matrix = matrix_of(client, bob)

    assert [symbol for _, symbol, _ in matrix["tickers"]] == ["T00USDT", "T01USDT", "T02USDT"]
    assert [one["id"] for one in matrix["configurations"]] == [central[0].pk, central[1].pk]
    expected = {(configuration.pk, ticker.pk) for configuration in central[:2] for ticker in tickers[:3]}
    assert {(cell[0], cell[1]) for cell in matrix["cells"]} == expected
    assert {(call["configuration"], call["ticker"]) for call in matrix["calls"]} == {
        (configuration.pk, ticker.symbol) for configuration in central[:2] for ticker in tickers[:3]
    }


def test_nobody_sees_the_configurations_of_another(
    client: Client, bob: User, charlie: User, own: Configuration, verdicts: None
) -> None:
    for user in (bob, charlie):
        client.force_login(user)
        for address in (MATRIX, "/api/calls/", "/api/calls/?algorithm=rsi"):
            reply = client.get(address).json()
            shown = {call["configuration"] for call in reply["calls"]} | {cell[0] for cell in reply.get("cells", [])}
            assert own.pk not in shown


def test_who_follows_nothing_gets_an_empty_matrix(client: Client, charlie: User, verdicts: None) -> None:
    matrix = matrix_of(client, charlie)

    assert (matrix["tickers"], matrix["configurations"], matrix["cells"], matrix["calls"]) == ([], [], [], [])


def test_a_cell_says_the_verdict_and_the_last_call(client: Client, bob: User, verdicts: None) -> None:
    cell = matrix_of(client, bob)["cells"][0]

    slot = to_ms(last_slot())
    assert cell[2:] == ["DO NOTHING", slot, "BUY", to_ms(last_slot() - PERIOD), 43.2, 100.5, ""]


def test_a_plan_that_ended_hides_what_lies_beyond_the_free_one(
    client: Client, alice: User, own: Configuration, verdicts: None
) -> None:
    PlanGrant.objects.filter(user=alice).update(ends_at=datetime.now(UTC))

    matrix = matrix_of(client, alice)

    assert (matrix["plan"], len(matrix["configurations"]), len(matrix["tickers"])) == ("Free", 3, 20)
    assert (matrix["hidden_configurations"], matrix["hidden_tickers"]) == (10, 10)
    assert own.pk not in {configuration["id"] for configuration in matrix["configurations"]}
    assert len(matrix["cells"]) == 3 * 20
    assert alice.algorithm_preferences.count() == 13


def test_a_ticker_that_is_no_longer_covered_disappears(
    client: Client, bob: User, tickers: list[Ticker], verdicts: None
) -> None:
    Ticker.objects.filter(pk=tickers[0].pk).update(status=Ticker.Status.DELISTED)

    matrix = matrix_of(client, bob)

    assert [symbol for _, symbol, _ in matrix["tickers"]] == ["T01USDT", "T02USDT"]
    assert tickers[0].pk not in {cell[1] for cell in matrix["cells"]}


def test_calls_come_newest_first_and_two_hundred_at_most(
    client: Client, alice: User, central: list[Configuration], tickers: list[Ticker]
) -> None:
    slot = last_slot()
    Call.objects.bulk_create(
        Call(
            configuration=central[0],
            ticker=tickers[0],
            candle_closed_at=slot - number * PERIOD,
            slot=slot,
            signal="BUY" if number % 2 else "SELL",
            previous_signal="DO NOTHING",
            price=100,
            candles_digest=b"0" * 16,
            algorithm_version=1,
            published_at=slot,
        )
        for number in range(210)
    )

    calls = matrix_of(client, alice)["calls"]

    assert [call["closed_at"] for call in calls] == [to_ms(slot - number * PERIOD) for number in range(200)]


def test_calls_are_narrowed_to_a_ticker_and_an_algorithm(
    client: Client, bob: User, central: list[Configuration], verdicts: None
) -> None:
    client.force_login(bob)
    algorithm = central[0].algorithm_id

    one = client.get("/api/calls/", {"ticker": "T01USDT", "algorithm": algorithm}).json()["calls"]
    foreign = client.get("/api/calls/", {"ticker": "T09USDT"}).json()["calls"]

    assert [(call["ticker"], call["algorithm"]) for call in one] == [("T01USDT", algorithm)]
    assert foreign == []


def test_the_last_sweep_and_the_market_come_along(client: Client, bob: User) -> None:
    slot = last_slot()
    close_sweep(slot - PERIOD)
    close_sweep(slot, stale=1, ok=29)
    note_heartbeat(updated_at=datetime.now(UTC))

    matrix = matrix_of(client, bob)

    assert matrix["sweep"]["slot"] == to_ms(slot)
    assert (matrix["sweep"]["tickers"], matrix["sweep"]["ok"], matrix["sweep"]["stale"]) == (30, 29, 1)
    assert matrix["period"] == 120_000
    assert matrix["next_slot"] == to_ms(last_slot() + PERIOD)
    assert matrix["market"]["is_connected"]
    assert matrix["market"]["is_simulated"]


def test_a_heartbeat_that_fell_silent_is_not_connected(client: Client, bob: User) -> None:
    note_heartbeat(updated_at=datetime.now(UTC) - PERIOD)

    assert not matrix_of(client, bob)["market"]["is_connected"]


def test_the_number_of_queries_does_not_grow_with_the_matrix(
    client: Client, alice: User, own: Configuration, central: list[Configuration]
) -> None:
    matrix_of(client, alice)
    with CaptureQueriesContext(connection) as few:
        client.get(MATRIX)
    give_verdicts([*central, own], [make_ticker(f"N{number}USDT") for number in range(40)])

    with CaptureQueriesContext(connection) as many:
        assert len(client.get(MATRIX).json()["cells"]) == 13 * 40

    assert len(many) == len(few)


def test_the_answer_is_compressed_and_never_kept(client: Client, alice: User, verdicts: None) -> None:
    client.force_login(alice)

    response = client.get(MATRIX, headers={"accept-encoding": "gzip"})

    assert response["Content-Encoding"] == "gzip"
    assert "no-store" in response["Cache-Control"]
    assert client.post(MATRIX).status_code == 405
