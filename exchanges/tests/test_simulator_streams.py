from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from exchanges.simulator import Simulator, SimulatorConfig, running
from exchanges.simulator.streams import MAX_STREAMS
from exchanges.tests.conftest import START_MS


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def request(socket: aiohttp.ClientWebSocketResponse, method: str, *params: object, id_: object = 1) -> Any:
    await socket.send_json({"method": method, "params": list(params), "id": id_})
    return await socket.receive_json()


async def test_a_raw_stream_is_not_wrapped(simulator: Simulator, session: aiohttp.ClientSession) -> None:
    async with session.ws_connect(f"{simulator.stream_url}/ws/btcusdt@kline_1m") as socket:
        await simulator.advance(1)
        frame = await socket.receive_json()

    assert frame["e"] == "kline"
    assert frame["k"]["x"] is True


async def test_names_in_the_address_are_subscribed(simulator: Simulator, session: aiohttp.ClientSession) -> None:
    names = "btcusdt@kline_1m/币安人生usdt@kline_1m"
    async with session.ws_connect(f"{simulator.stream_url}/stream?streams={names}") as socket:
        listed = await request(socket, "LIST_SUBSCRIPTIONS")
        await simulator.advance(1)
        frames = [await socket.receive_json() for _ in range(2)]

    assert listed == {"result": names.split("/"), "id": 1}
    assert [frame["stream"] for frame in frames] == names.split("/")


async def test_subscriptions_change_while_the_socket_is_open(
    simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    async with session.ws_connect(f"{simulator.stream_url}/ws") as socket:
        first = await request(socket, "SUBSCRIBE", "btcusdt@kline_1m", "ethusdt@kline_1m", id_="a")
        second = await request(socket, "UNSUBSCRIBE", "btcusdt@kline_1m", id_=None)
        listed = await request(socket, "LIST_SUBSCRIPTIONS")
        await simulator.advance(1)
        frame = await socket.receive_json()

    assert first == {"result": None, "id": "a"}
    assert second == {"result": None, "id": None}
    assert listed["result"] == ["ethusdt@kline_1m"]
    assert frame["s"] == "ETHUSDT"


async def test_a_combined_socket_can_become_a_raw_one(simulator: Simulator, session: aiohttp.ClientSession) -> None:
    async with session.ws_connect(f"{simulator.stream_url}/stream?streams=btcusdt@kline_1m") as socket:
        before = await request(socket, "GET_PROPERTY", "combined")
        await request(socket, "SET_PROPERTY", "combined", False)
        await simulator.advance(1)
        frame = await socket.receive_json()

    assert before["result"] is True
    assert "stream" not in frame


@pytest.mark.parametrize(
    ("message", "code", "beginning"),
    [
        ('{"method":"SHOUT","id":1}', 2, "Invalid request: unknown variant `SHOUT`, expected one of `SUBSCRIBE`"),
        ('{"id":1}', 2, "Invalid request: Object missing required field `method`"),
        ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2, "Invalid request"),
        ('{"method":"SET_PROPERTY","params":["colour",true],"id":1}', 0, "Unknown property"),
        ("SUBSCRIBE btcusdt", 3, "Invalid JSON"),
    ],
)
async def test_a_wrong_message_gets_the_documented_code(
    simulator: Simulator, session: aiohttp.ClientSession, message: str, code: int, beginning: str
) -> None:
    async with session.ws_connect(f"{simulator.stream_url}/ws") as socket:
        await socket.send_str(message)
        reply = await socket.receive_json()

    assert reply["code"] == code
    assert reply["msg"].startswith(beginning)


async def test_a_connection_listens_to_no_more_than_it_may(
    simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    names = [f"nothing{number}@kline_1m" for number in range(MAX_STREAMS + 1)]
    async with session.ws_connect(f"{simulator.stream_url}/stream") as socket:
        allowed = await request(socket, "SUBSCRIBE", *names[:-1])
        refused = await request(socket, "SUBSCRIBE", names[-1])

    assert allowed["result"] is None
    assert refused["code"] == 2


async def test_who_talks_too_much_is_disconnected(simulator: Simulator, session: aiohttp.ClientSession) -> None:
    async with session.ws_connect(f"{simulator.stream_url}/ws") as socket:
        for number in range(7):
            await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
        messages = [message async for message in socket]

    assert len(messages) < 7
    assert socket.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION


async def test_minutes_close_in_order_and_once_in_every_timeframe(
    simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    names = "btcusdt@kline_1m/btcusdt@kline_5m/btcusdt@kline_15m"
    async with session.ws_connect(f"{simulator.stream_url}/stream?streams={names}") as socket:
        await simulator.advance(30)
        frames = [(await socket.receive_json())["data"]["k"] for _ in range(30 + 6 + 2)]

    assert all(frame["x"] for frame in frames)
    for interval, length, number in (("1m", 1, 30), ("5m", 5, 6), ("15m", 15, 2)):
        opened = [frame["t"] for frame in frames if frame["i"] == interval]
        assert opened == [START_MS + offset * length * 60_000 for offset in range(number)]


async def test_what_is_streamed_is_what_rest_says(simulator: Simulator, session: aiohttp.ClientSession) -> None:
    address = f"{simulator.rest_url}/api/v3/klines?symbol=币安人生USDT&interval=5m&limit=1"
    async with session.ws_connect(f"{simulator.stream_url}/ws/币安人生usdt@kline_5m") as socket:
        await simulator.advance(5)
        streamed = (await socket.receive_json())["k"]
    async with session.get(address) as response:
        (bar,) = await response.json()

    assert bar == [streamed[name] for name in "tohlcvTqnVQB"]


async def test_forming_candles_are_sent_while_the_clock_runs(session: aiohttp.ClientSession) -> None:
    names = "btcusdt@kline_1m/ethusdt@kline_5m/!miniTicker@arr"
    async with (
        running(SimulatorConfig(tickers=3)) as simulator,
        session.ws_connect(f"{simulator.stream_url}/stream?streams={names}") as socket,
        asyncio.timeout(60),
    ):
        seen: dict[str, int] = {}
        while min(seen.get(name, 0) for name in names.split("/")) < 3:
            frame = await socket.receive_json()
            seen[frame["stream"]] = seen.get(frame["stream"], 0) + 1
            if "@kline" in frame["stream"]:
                kline = frame["data"]["k"]
                assert kline["t"] <= frame["data"]["E"]
                assert float(kline["l"]) <= float(kline["c"]) <= float(kline["h"])


async def test_a_client_that_does_not_read_is_cut_and_the_others_miss_nothing(
    simulator: Simulator, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchanges.simulator.streams.FLUSH_SECONDS", 0.5)
    names = [f"{listing.symbol.lower()}@kline_1m" for listing in simulator.market.listings]
    minutes = 2_000
    async with (
        session.ws_connect(f"{simulator.stream_url}/stream") as lazy,
        session.ws_connect(f"{simulator.stream_url}/ws/btcusdt@kline_1m") as diligent,
    ):
        await request(lazy, "SUBSCRIBE", *names)
        advancing = asyncio.create_task(simulator.advance(minutes))
        opened = [(await diligent.receive_json())["k"]["t"] for _ in range(minutes)]
        await advancing
        listening = simulator.status()["streams"]

    assert opened == [START_MS + minute * 60_000 for minute in range(minutes)]
    assert listening == 1
