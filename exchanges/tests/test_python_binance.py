"""python-binance's own client, unchanged but for its addresses, works against the simulated exchange."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from binance.async_client import AsyncClient
from binance.exceptions import BinanceAPIException
from binance.ws.reconnecting_websocket import ReconnectingWebsocket
from binance.ws.streams import BinanceSocketManager

from exchanges.simulator import Simulator
from exchanges.tests.conftest import START_MS


@pytest.fixture
async def client(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncClient]:
    monkeypatch.setattr(AsyncClient, "API_URL", f"{simulator.rest_url}/api")
    monkeypatch.setattr(BinanceSocketManager, "STREAM_URL", f"{simulator.stream_url}/")
    # It leaves a socket only after having waited so long for a message.
    monkeypatch.setattr(ReconnectingWebsocket, "TIMEOUT", 0.2)
    client = await AsyncClient.create()
    yield client
    await client.close_connection()


async def test_it_fetches(client: AsyncClient, simulator: Simulator) -> None:
    info = await client.get_exchange_info()
    bars = await client.get_klines(symbol="币安人生USDT", interval="5m", limit=10)
    ticker = await client.get_ticker(symbol="BTCUSDT")
    prices = await client.get_all_tickers()

    assert len(info["symbols"]) == len(prices) == 16
    assert [bar[0] for bar in bars] == [START_MS - 300_000 * back for back in range(10, 0, -1)]
    assert float(ticker["lastPrice"]) > 0


async def test_it_pages_through_a_long_history(client: AsyncClient) -> None:
    bars = await client.get_historical_klines("BTCUSDT", "1m", START_MS - 2_500 * 60_000, START_MS - 1)

    assert [bar[0] for bar in bars] == [START_MS - back * 60_000 for back in range(2_500, 0, -1)]


async def test_it_reads_the_errors(client: AsyncClient, simulator: Simulator) -> None:
    with pytest.raises(BinanceAPIException) as unknown:
        await client.get_klines(symbol="NOPE", interval="1m")
    simulator.set_fault(status=429, retry_after=3)
    with pytest.raises(BinanceAPIException) as limited:
        await client.get_server_time()

    assert (unknown.value.status_code, unknown.value.code) == (400, -1121)
    assert (limited.value.status_code, limited.value.code) == (429, -1003)
    assert limited.value.response.headers["Retry-After"] == "3"


async def test_it_streams_one_market(client: AsyncClient, simulator: Simulator) -> None:
    async with asyncio.timeout(60), BinanceSocketManager(client).kline_socket("BTCUSDT", interval="1m") as socket:
        await simulator.advance(1)
        message = await socket.recv()

    assert (message["s"], message["k"]["t"], message["k"]["x"]) == ("BTCUSDT", START_MS, True)


async def test_it_streams_several_markets(client: AsyncClient, simulator: Simulator) -> None:
    names = ["btcusdt@kline_1m", "币安人生usdt@kline_1m"]
    async with asyncio.timeout(60), BinanceSocketManager(client).multiplex_socket(names) as socket:
        await simulator.advance(1)
        messages = [await socket.recv() for _ in names]

    assert [message["stream"] for message in messages] == names


async def test_it_streams_the_mini_tickers(client: AsyncClient, simulator: Simulator) -> None:
    async with asyncio.timeout(60), BinanceSocketManager(client).miniticker_socket(1000) as socket:
        await simulator.advance(1)
        tickers = await socket.recv()

    assert {ticker["s"] for ticker in tickers} == simulator.market.place.keys()
