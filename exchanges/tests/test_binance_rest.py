"""Our REST client, against the simulated exchange with its faults on, and against a server that answers nonsense."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal

import numpy as np
import pytest
from aiohttp import web

from exchanges.base import ExchangeError, RateLimited, RequestRefused, TemporaryError, UnexpectedReply
from exchanges.binance import BinanceMarketData
from exchanges.binance.weight import WeightBudget
from exchanges.simulator import Simulator
from exchanges.tests.conftest import START_MS, ask, client_of

Call = Callable[[BinanceMarketData], Awaitable[object]]

CALLS: dict[str, Call] = {
    "server_time_ms": lambda data: data.server_time_ms(),
    "symbols": lambda data: data.symbols(),
    "quote_volumes_24h": lambda data: data.quote_volumes_24h(),
    "klines": lambda data: data.klines("BTCUSDT", "1m"),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)

GOOD_BAR = [60_000, "1.0", "2.0", "0.5", "1.5", "10.0", 119_999, "15.0", 3, "5.0", "7.5", "0"]


@asynccontextmanager
async def answering(
    body: str | bytes, status: int = 200, kind: str = "application/json"
) -> AsyncIterator[BinanceMarketData]:
    """Our client of a server that answers everything so."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, status=status, content_type=kind)

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    market_data = BinanceMarketData(rest_url=f"http://127.0.0.1:{runner.addresses[0][1]}", stream_url="ws://127.0.0.1")
    yield market_data
    await market_data.close()
    await runner.cleanup()


async def test_the_clock_is_the_exchanges(market_data: BinanceMarketData, simulator: Simulator) -> None:
    simulator.set_fault(skew_ms=-5_000)

    assert await market_data.server_time_ms() == START_MS - 5_000


async def test_symbols_carry_exact_steps(market_data: BinanceMarketData, simulator: Simulator) -> None:
    symbols = {symbol.symbol: symbol for symbol in await market_data.symbols()}

    assert symbols.keys() == simulator.market.place.keys()
    bitcoin = symbols["BTCUSDT"]
    assert (bitcoin.base_asset, bitcoin.quote_asset, bitcoin.is_trading) == ("BTC", "USDT", True)
    assert (bitcoin.tick_size, bitcoin.step_size, bitcoin.min_notional) == (
        Decimal("0.01"),
        Decimal("0.00001"),
        Decimal(5),
    )


async def test_volumes_are_those_of_the_last_day(market_data: BinanceMarketData, simulator: Simulator) -> None:
    volumes = await market_data.quote_volumes_24h()

    assert volumes.keys() == simulator.market.place.keys()
    assert volumes["BTCUSDT"] == pytest.approx(simulator.market.day(START_MS)[0, 6])


@pytest.mark.parametrize("timeframe", ["1m", "5m", "4h"])
@pytest.mark.parametrize("symbol", ["BTCUSDT", "币安人生USDT"])
async def test_klines_are_the_markets_own(
    market_data: BinanceMarketData, simulator: Simulator, symbol: str, timeframe: str
) -> None:
    rows = await market_data.klines(symbol, timeframe, limit=50)

    market = simulator.market
    expected = market.bars(market.place[symbol], timeframe, None, None, 50, START_MS)[:, :6]
    assert np.array_equal(rows[:, :5], expected[:, :5])
    assert np.allclose(rows[:, 5], expected[:, 5], rtol=1e-12)


async def test_klines_are_bounded_by_both_ends(market_data: BinanceMarketData) -> None:
    start = START_MS - 600_000

    rows = await market_data.klines("BTCUSDT", "1m", start_ms=start, end_ms=start + 120_000)

    assert rows[:, 0].tolist() == [start, start + 60_000, start + 120_000]


async def test_no_klines_are_no_error(market_data: BinanceMarketData) -> None:
    rows = await market_data.klines("BTCUSDT", "1m", start_ms=START_MS + 600_000)

    assert rows.shape == (0, 6)


@pytest.mark.parametrize("limit", [0, 1_001])
async def test_an_impossible_limit_is_the_callers_fault(market_data: BinanceMarketData, limit: int) -> None:
    with pytest.raises(ValueError):
        await market_data.klines("BTCUSDT", "1m", limit=limit)


@pytest.mark.parametrize(("symbol", "timeframe", "code"), [("NOPE", "1m", -1121), ("BTCUSDT", "2m", -1120)])
async def test_a_refusal_carries_the_code(
    market_data: BinanceMarketData, symbol: str, timeframe: str, code: int
) -> None:
    with pytest.raises(RequestRefused) as caught:
        await market_data.klines(symbol, timeframe)

    assert caught.value.code == code
    assert caught.value.__cause__ is not None


@every_call
@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_failing_exchange_is_a_temporary_error(
    market_data: BinanceMarketData, simulator: Simulator, call: Call, status: int
) -> None:
    simulator.set_fault(status=status)

    with pytest.raises(TemporaryError):
        await call(market_data)

    simulator.clear_faults()
    await call(market_data)


@every_call
@pytest.mark.parametrize(("status", "is_ban"), [(429, False), (418, True)])
async def test_after_a_429_or_418_nobody_asks_until_the_time_is_over(
    market_data: BinanceMarketData, simulator: Simulator, call: Call, status: int, is_ban: bool
) -> None:
    simulator.set_fault(status=status, retry_after=600)
    with pytest.raises(RateLimited) as first:
        await call(market_data)
    simulator.clear_faults()
    asked = simulator.status()["requests"]

    with pytest.raises(RateLimited) as second:
        await market_data.server_time_ms()

    assert (first.value.retry_after, first.value.is_ban) == (600, is_ban)
    assert 0 < second.value.retry_after <= 600
    assert second.value.is_ban == is_ban
    assert simulator.status()["requests"] == asked


async def test_when_the_time_is_over_requests_go_on(market_data: BinanceMarketData, simulator: Simulator) -> None:
    simulator.set_fault(status=429, retry_after=0, requests=1)
    with pytest.raises(RateLimited):
        await market_data.server_time_ms()

    assert await market_data.server_time_ms() == START_MS


@every_call
async def test_a_silent_exchange_is_a_temporary_error(simulator: Simulator, call: Call) -> None:
    simulator.set_fault(latency_ms=60_000)
    market_data = BinanceMarketData(rest_url=simulator.rest_url, stream_url=simulator.stream_url, timeout=0.2)

    with pytest.raises(TemporaryError):
        await call(market_data)

    await market_data.close()


@every_call
async def test_an_exchange_that_is_not_there_is_a_temporary_error(call: Call, unused_tcp_port: int) -> None:
    market_data = BinanceMarketData(rest_url=f"http://127.0.0.1:{unused_tcp_port}", stream_url="ws://127.0.0.1")

    with pytest.raises(TemporaryError):
        await call(market_data)

    await market_data.close()


@every_call
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<html>Please log in</html>", "text/html"),
        ("<html>Please log in</html>", "application/json"),
        ("", "application/json"),
        ("null", "application/json"),
        ('"hello"', "application/json"),
        ("[[]]", "application/json"),
        ('{"serverTime":', "application/json"),
        ('{"serverTime":"soon","symbols":"none"}', "application/json"),
        (b'{"serverTime":\xff}', "application/json"),
    ],
)
async def test_a_reply_of_another_shape_is_unexpected(call: Call, body: str | bytes, kind: str) -> None:
    async with answering(body, kind=kind) as market_data:
        with pytest.raises(UnexpectedReply):
            await call(market_data)


@every_call
@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, "<html>Bad Request</html>", UnexpectedReply),
        (400, '["no"]', UnexpectedReply),
        (404, "{}", UnexpectedReply),
        (400, '{"code":-1102,"msg":"x"}', RequestRefused),
        (400, '{"code":-1001,"msg":"x"}', TemporaryError),
        (403, "<html>Forbidden</html>", RateLimited),
        (502, "<html>Bad Gateway</html>", TemporaryError),
    ],
)
async def test_an_error_is_sorted_by_its_remedy(call: Call, status: int, body: str, error: type[ExchangeError]) -> None:
    async with answering(body, status) as market_data:
        with pytest.raises(error) as caught:
            await call(market_data)

    assert caught.type is error


@pytest.mark.parametrize("column", range(6))
@pytest.mark.parametrize("value", ["NaN", "inf", "-1", "", "1e999", "<b>", None, [], True])
async def test_a_kline_that_cannot_be_is_unexpected(column: int, value: object) -> None:
    bar = [value if place == column else part for place, part in enumerate(GOOD_BAR)]
    async with answering(json.dumps([bar])) as market_data:
        with pytest.raises(UnexpectedReply):
            await market_data.klines("BTCUSDT", "1m")


@pytest.mark.parametrize(
    "bars",
    [
        [GOOD_BAR, GOOD_BAR],
        [[120_000, *GOOD_BAR[1:]], GOOD_BAR],
        [[60_001, *GOOD_BAR[1:]]],
        [[60_000, "1.0", "0.9", "0.5", "0.8", "10.0"]],
        [[60_000, "1.0", "2.0", "1.1", "1.5", "10.0"]],
        [[60_000, "1.0"]],
    ],
    ids=["twice", "backwards", "off the grid", "high below open", "low above open", "short"],
)
async def test_klines_that_contradict_each_other_are_unexpected(bars: list[list[object]]) -> None:
    async with answering(json.dumps(bars)) as market_data:
        with pytest.raises(UnexpectedReply):
            await market_data.klines("BTCUSDT", "1m")


async def test_a_new_field_at_the_end_of_a_kline_does_no_harm() -> None:
    async with answering(json.dumps([[*GOOD_BAR, "new"]])) as market_data:
        rows = await market_data.klines("BTCUSDT", "1m")

    assert rows.tolist() == [[60_000, 1.0, 2.0, 0.5, 1.5, 10.0]]


async def test_a_symbol_that_cannot_be_read_costs_nobody_else(
    simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    info = await ask(simulator, "/api/v3/exchangeInfo")
    del info["symbols"][0]["baseAsset"]
    info["symbols"][1]["filters"][0]["tickSize"] = "small"
    info["symbols"][2]["filters"] = None
    info["symbols"][3]["status"] = "BREAK"
    async with answering(json.dumps(info)) as market_data:
        symbols = await market_data.symbols()

    assert [symbol.symbol for symbol in symbols] == [entry["symbol"] for entry in info["symbols"][3:]]
    assert [symbol.is_trading for symbol in symbols] == [False] + [True] * 12
    assert caplog.text.count("left a symbol out") == 3


async def test_the_budget_follows_the_exchanges_count_and_limit(simulator: Simulator) -> None:
    simulator.rest.weights.limit = 500
    mine, another = client_of(simulator), client_of(simulator)

    await another.quote_volumes_24h()
    await mine.symbols()

    # A real minute may have turned between the two.
    assert mine.weight.spent in (20, 100)
    assert mine.weight.limit == 500
    await mine.close()
    await another.close()


@pytest.mark.parametrize("told", [{}, {"X-MBX-USED-WEIGHT-1M": "75"}], ids=["own count", "exchange's count"])
async def test_above_four_fifths_of_the_limit_requests_wait_for_the_next_minute(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str]
) -> None:
    monkeypatch.setattr("exchanges.binance.weight.MARGIN_SECONDS", 0.01)
    monkeypatch.setattr("exchanges.binance.weight.JITTER_SECONDS", 0.01)
    now = 119.9
    budget = WeightBudget(100, lambda: now)
    await budget.spend(1 if told else 75)
    budget.observe(told)
    await budget.spend(5)

    waiting = asyncio.create_task(budget.spend(5))
    await asyncio.sleep(0)
    is_waiting = not waiting.done()
    now = 120.0
    await waiting

    assert is_waiting
    assert budget.spent == 5
