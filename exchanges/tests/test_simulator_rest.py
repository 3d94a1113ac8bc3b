from __future__ import annotations

import itertools
import json

import pytest

from exchanges.simulator import Simulator, SimulatorConfig, running
from exchanges.tests import recordings
from exchanges.tests.conftest import START, START_MS, ask, ask_response

KLINES = "/api/v3/klines"
REFUSALS = [
    ({"symbol": "NOPE", "interval": "1m"}, -1121, "Invalid symbol."),
    ({"symbol": "btcusdt", "interval": "1m"}, -1121, "Invalid symbol."),
    ({"symbol": "BTCUSDT", "interval": "2m"}, -1120, "Invalid interval."),
    ({"symbol": "BTCUSDT"}, -1102, "Mandatory parameter 'interval' was not sent, was empty/null, or malformed."),
    ({"interval": "1m"}, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."),
    (
        {"symbol": "BTCUSDT", "interval": "1m", "startTime": "yesterday"},
        -1100,
        "Illegal characters found in parameter 'startTime'; legal range is '^[0-9]{1,20}$'.",
    ),
    ({"symbol": "BTCUSDT", "interval": "1m", "limit": "0"}, -1130, "Data sent for parameter 'limit' is not valid."),
]


@pytest.mark.parametrize(("query", "code", "message"), REFUSALS)
async def test_a_wrong_request_gets_the_documented_error(
    simulator: Simulator, query: dict[str, str], code: int, message: str
) -> None:
    response = await ask_response(simulator, KLINES, **query)

    assert response.status == 400
    assert await response.json() == {"code": code, "msg": message}


@pytest.mark.parametrize("code", sorted({code for _, code, _ in REFUSALS} | {-1003, -1000, -1128}))
def test_the_codes_are_those_of_the_documentation(code: int) -> None:
    by_hand = {-1000, -1003, -1100, -1102, -1120, -1121, -1128, -1130}
    documented = by_hand
    file = recordings.DATA / "errors" / "binance_spot_error_codes.json"
    if file.exists():
        documented = {entry["code"] for entry in json.loads(file.read_text())["codes"]}

    assert code in documented


async def test_several_symbols_are_asked_for_at_once(simulator: Simulator) -> None:
    prices = await ask(simulator, "/api/v3/ticker/price", symbols='["BTCUSDT","币安人生USDT"]')
    broken = await ask(simulator, "/api/v3/ticker/price", symbols="[BTCUSDT]")
    both = await ask(simulator, "/api/v3/ticker/price", symbols='["BTCUSDT"]', symbol="BTCUSDT")

    assert [price["symbol"] for price in prices] == ["BTCUSDT", "币安人生USDT"]
    assert broken["code"] == -1100
    assert both["code"] == -1128


async def test_a_request_says_no_more_than_a_thousand_bars(simulator: Simulator) -> None:
    assert len(await ask(simulator, KLINES, symbol="BTCUSDT", interval="1m", limit=5_000)) == 1_000
    assert len(await ask(simulator, KLINES, symbol="BTCUSDT", interval="1m")) == 500


async def test_a_long_history_of_a_high_timeframe_is_there_at_once(simulator: Simulator) -> None:
    bars = await ask(simulator, KLINES, symbol="ETHUSDT", interval="4h", limit=1_000)

    assert len(bars) == 1_000
    assert bars[-1][0] == START_MS - 4 * 3_600_000


async def test_the_exchange_tells_the_markets_time(simulator: Simulator) -> None:
    assert await ask(simulator, "/api/v3/ping") == {}
    assert await ask(simulator, "/api/v3/time") == {"serverTime": START_MS}


async def test_every_reply_tells_the_weight_spent_in_this_minute(simulator: Simulator) -> None:
    told = []
    for path, query in [
        ("/api/v3/ping", {}),
        (KLINES, {"symbol": "BTCUSDT", "interval": "1m"}),
        ("/api/v3/exchangeInfo", {}),
        ("/api/v3/ticker/24hr", {}),
        (KLINES, {"symbol": "NOPE", "interval": "1m"}),
    ]:
        response = await ask_response(simulator, path, **query)
        told.append(int(response.headers["X-MBX-USED-WEIGHT-1M"]))

    steps = [after - before for before, after in itertools.pairwise(told)]
    # Once in a while a real minute turns between two requests.
    assert sum(step != weight for step, weight in zip(steps, [2, 20, 80, 2], strict=True)) <= 1


async def test_who_spends_too_much_is_refused_and_who_goes_on_is_banned() -> None:
    config = SimulatorConfig(tickers=1, stepped=True, start_at=START, weight_limit=100)
    async with running(config) as simulator:
        replies = [await ask_response(simulator, "/api/v3/exchangeInfo")]
        while replies[-1].status != 418 and len(replies) < 500:
            replies.append(await ask_response(simulator, "/api/v3/exchangeInfo"))

    statuses = [reply.status for reply in replies]
    refused = replies[statuses.index(429)]
    assert statuses[:5] == [200] * 5
    assert (await refused.json())["code"] == -1003
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert statuses.count(429) >= 100
    assert "banned until" in (await replies[-1].json())["msg"]
    assert int(replies[-1].headers["Retry-After"]) > 60
