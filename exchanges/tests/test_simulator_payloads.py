"""Every field the simulated exchange sends: its name, its type, a number or a number in a string, and where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from exchanges.simulator import Simulator
from exchanges.tests import recordings
from exchanges.tests.conftest import ask

NUMBER = "number as a string"

# By hand, from the documentation, so that a bare clone tests the same.
KLINE_FRAME = {
    "stream": "text",
    "data": {
        "e": "text", "E": "int", "s": "text",
        "k": {
            "t": "int", "T": "int", "s": "text", "i": "text", "f": "int", "L": "int", "o": NUMBER, "c": NUMBER,
            "h": NUMBER, "l": NUMBER, "v": NUMBER, "n": "int", "x": "bool", "q": NUMBER, "V": NUMBER, "Q": NUMBER,
            "B": "digits",
        },
    },
}  # fmt: skip
KLINE = ["int", NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, "int", NUMBER, "int", NUMBER, NUMBER, "digits"]
MINI_TICKER = {
    "e": "text", "E": "int", "s": "text", "c": NUMBER, "o": NUMBER, "h": NUMBER, "l": NUMBER, "v": NUMBER, "q": NUMBER,
}  # fmt: skip
DAY_TICKER = {
    "symbol": "text", "priceChange": NUMBER, "priceChangePercent": "per cent", "weightedAvgPrice": NUMBER,
    "prevClosePrice": NUMBER, "lastPrice": NUMBER, "lastQty": NUMBER, "bidPrice": NUMBER, "bidQty": NUMBER,
    "askPrice": NUMBER, "askQty": NUMBER, "openPrice": NUMBER, "highPrice": NUMBER, "lowPrice": NUMBER,
    "volume": NUMBER, "quoteVolume": NUMBER, "openTime": "int", "closeTime": "int", "firstId": "int", "lastId": "int",
    "count": "int",
}  # fmt: skip
PRICE_TICKER = {"symbol": "text", "price": NUMBER}
RATE_LIMIT = {"rateLimitType": "text", "interval": "text", "intervalNum": "int", "limit": "int"}
EXCHANGE_INFO = {
    "timezone": "text", "serverTime": "int", "rateLimits": "list", "exchangeFilters": "list", "symbols": "list",
}  # fmt: skip
SYMBOL = {
    "symbol": "text", "status": "text", "baseAsset": "text", "baseAssetPrecision": "int", "quoteAsset": "text",
    "quotePrecision": "int", "quoteAssetPrecision": "int", "baseCommissionPrecision": "int",
    "quoteCommissionPrecision": "int", "orderTypes": "list", "icebergAllowed": "bool", "ocoAllowed": "bool",
    "otoAllowed": "bool", "quoteOrderQtyMarketAllowed": "bool", "allowTrailingStop": "bool",
    "cancelReplaceAllowed": "bool", "amendAllowed": "bool", "isSpotTradingAllowed": "bool",
    "isMarginTradingAllowed": "bool", "filters": "list", "permissions": "list", "permissionSets": "list",
    "defaultSelfTradePreventionMode": "text", "allowedSelfTradePreventionModes": "list",
}  # fmt: skip
FILTERS = {
    "PRICE_FILTER": {"filterType": "text", "minPrice": NUMBER, "maxPrice": NUMBER, "tickSize": NUMBER},
    "LOT_SIZE": {"filterType": "text", "minQty": NUMBER, "maxQty": NUMBER, "stepSize": NUMBER},
    "ICEBERG_PARTS": {"filterType": "text", "limit": "int"},
    "MARKET_LOT_SIZE": {"filterType": "text", "minQty": NUMBER, "maxQty": NUMBER, "stepSize": NUMBER},
    "TRAILING_DELTA": {
        "filterType": "text", "minTrailingAboveDelta": "int", "maxTrailingAboveDelta": "int",
        "minTrailingBelowDelta": "int", "maxTrailingBelowDelta": "int",
    },
    "PERCENT_PRICE_BY_SIDE": {
        "filterType": "text", "bidMultiplierUp": "digits", "bidMultiplierDown": "digits",
        "askMultiplierUp": "digits", "askMultiplierDown": "digits", "avgPriceMins": "int",
    },
    "NOTIONAL": {
        "filterType": "text", "minNotional": NUMBER, "applyMinToMarket": "bool", "maxNotional": NUMBER,
        "applyMaxToMarket": "bool", "avgPriceMins": "int",
    },
    "MAX_NUM_ORDERS": {"filterType": "text", "maxNumOrders": "int"},
    "MAX_NUM_ALGO_ORDERS": {"filterType": "text", "maxNumAlgoOrders": "int"},
}  # fmt: skip


def kind(value: object, *, is_deep: bool = True) -> Any:
    """What a JSON value is, told so that two of the same shape are equal."""
    match value:
        case bool():
            return "bool"
        case int():
            return "int"
        case str() if re.fullmatch(r"-?\d+\.\d{8}", value):
            return NUMBER
        case str() if re.fullmatch(r"-?\d+\.\d{3}", value):
            return "per cent"
        case str() if re.fullmatch(r"\d+(\.\d)?", value):
            return "digits"
        case str():
            return "text"
        case dict():
            return {name: kind(part, is_deep=is_deep) for name, part in value.items()}
        case list() if is_deep:
            return [kind(part) for part in value]
    return type(value).__name__


async def frames(simulator: Simulator, *names: str) -> list[Any]:
    """What the streams of `names` send while a minute closes."""
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{simulator.stream_url}/stream") as socket:
        await socket.send_json({"method": "SUBSCRIBE", "params": names, "id": 1})
        assert await socket.receive_json() == {"result": None, "id": 1}
        await simulator.advance(1)
        return [await socket.receive_json() for _ in names]


async def test_klines_have_the_documented_shape(simulator: Simulator) -> None:
    bars = await ask(simulator, "/api/v3/klines", symbol="BTCUSDT", interval="5m", limit=5)

    assert [kind(bar) for bar in bars] == [KLINE] * 5


async def test_a_kline_frame_has_the_documented_shape(simulator: Simulator) -> None:
    frame, quiet_frame = await frames(simulator, "btcusdt@kline_1m", "币安人生usdt@kline_1m")

    assert kind(frame) == KLINE_FRAME
    assert kind(quiet_frame) == KLINE_FRAME
    assert frame["stream"] == "btcusdt@kline_1m"
    assert frame["data"]["k"]["T"] == frame["data"]["k"]["t"] + 59_999
    assert quiet_frame["data"]["s"] == "币安人生USDT"


async def test_the_mini_tickers_are_one_array_of_every_market(simulator: Simulator) -> None:
    (frame,) = await frames(simulator, "!miniTicker@arr")

    assert [kind(ticker) for ticker in frame["data"]] == [MINI_TICKER] * 16


async def test_tickers_have_the_documented_shape(simulator: Simulator) -> None:
    one = await ask(simulator, "/api/v3/ticker/24hr", symbol="BTCUSDT")
    every = await ask(simulator, "/api/v3/ticker/24hr")
    prices = await ask(simulator, "/api/v3/ticker/price")

    assert kind(one) == DAY_TICKER
    assert [kind(ticker) for ticker in every] == [DAY_TICKER] * 16
    assert [kind(price) for price in prices] == [PRICE_TICKER] * 16


async def test_the_exchange_info_has_the_documented_shape(simulator: Simulator) -> None:
    info = await ask(simulator, "/api/v3/exchangeInfo")

    assert kind(info, is_deep=False) == EXCHANGE_INFO
    assert [kind(limit) for limit in info["rateLimits"]] == [RATE_LIMIT] * 4
    assert [kind(symbol, is_deep=False) for symbol in info["symbols"]] == [SYMBOL] * 16
    for symbol in info["symbols"]:
        assert {entry["filterType"]: kind(entry) for entry in symbol["filters"]} == FILTERS


def recorded_shapes() -> Iterator[tuple[str, Any, Any]]:
    for reply in recordings.replies("klines"):
        yield from (("klines", kind(bar), KLINE) for bar in reply)
    for frame in recordings.frames("@kline_"):
        yield "kline frame", kind(frame), KLINE_FRAME
    for endpoint, shape in (("ticker_24hr", DAY_TICKER), ("ticker_price", PRICE_TICKER)):
        for reply in recordings.replies(endpoint):
            yield from ((endpoint, kind(entry), shape) for entry in (reply if isinstance(reply, list) else [reply]))
    for reply in recordings.replies("exchangeInfo"):
        yield "exchangeInfo", kind(reply, is_deep=False), EXCHANGE_INFO
        for symbol in reply["symbols"]:
            yield "symbol", kind(symbol, is_deep=False), SYMBOL
            yield from ((entry["filterType"], kind(entry), FILTERS[entry["filterType"]]) for entry in symbol["filters"])


def test_the_shapes_written_by_hand_are_those_of_the_recordings() -> None:
    """On a bare clone there are none to compare; the shapes above are tested all the same."""
    checked: dict[str, int] = {}
    for name, recorded, by_hand in recorded_shapes():
        assert recorded == by_hand, name
        checked[name] = checked.get(name, 0) + 1

    assert recordings.BINANCE.exists() == bool(checked)
    assert not checked or {"klines", "kline frame", "ticker_24hr", "exchangeInfo", "PRICE_FILTER"} <= checked.keys()


@pytest.mark.parametrize("symbol", ["BTCUSDT", "币安人生USDT"])
async def test_prices_keep_to_the_listed_steps(simulator: Simulator, symbol: str) -> None:
    info = await ask(simulator, "/api/v3/exchangeInfo", symbol=symbol)
    tick = float(info["symbols"][0]["filters"][0]["tickSize"])
    bars = await ask(simulator, "/api/v3/klines", symbol=symbol, interval="1m", limit=100)

    steps = [float(price) / tick for bar in bars for price in bar[1:5]]
    assert all(abs(step - round(step)) < 1e-6 * step for step in steps)
