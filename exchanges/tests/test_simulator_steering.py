from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from exchanges.simulator import Simulator, SimulatorConfig, running, running_in_thread
from exchanges.tests.conftest import START, START_MS, ask, ask_response

STEERING = [
    ("GET", "/sim/status"),
    ("POST", "/sim/advance"),
    ("POST", "/sim/fault"),
    ("DELETE", "/sim/fault"),
    ("GET", "/sim/anything"),
]


async def steer(simulator: Simulator, method: str, path: str, body: object = None) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, simulator.rest_url + path, json=body) as response,
    ):
        return response.status, await response.json()


@pytest.fixture
async def from_elsewhere(tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A client whose address is not this machine's loopback: it comes by a socket that has no address at all."""
    simulator = Simulator(SimulatorConfig(tickers=1, stepped=True, start_at=START))
    runner = web.AppRunner(simulator.application())
    await runner.setup()
    await web.UnixSite(runner, tmp_path / "exchange").start()
    connector = aiohttp.UnixConnector(str(tmp_path / "exchange"))
    async with aiohttp.ClientSession("http://exchange", connector=connector) as session:
        yield session
    await runner.cleanup()


@pytest.mark.parametrize(("method", "path"), STEERING)
async def test_only_this_machine_may_steer(from_elsewhere: aiohttp.ClientSession, method: str, path: str) -> None:
    async with from_elsewhere.request(method, path, headers={"X-Forwarded-For": "127.0.0.1"}) as refused:
        assert refused.status == 403
    async with from_elsewhere.get("/api/v3/time") as untouched:
        assert await untouched.json() == {"serverTime": START_MS}


async def test_the_clock_stands_until_it_is_advanced(simulator: Simulator) -> None:
    status, told = await steer(simulator, "POST", "/sim/advance?minutes=3")

    assert (status, told) == (200, {"serverTime": START_MS + 180_000, "minutes": 3})
    assert await ask(simulator, "/api/v3/time") == {"serverTime": START_MS + 180_000}
    bars = await ask(simulator, "/api/v3/klines", symbol="BTCUSDT", interval="1m", startTime=START_MS)
    assert [bar[0] for bar in bars] == [START_MS, START_MS + 60_000, START_MS + 120_000]


@pytest.mark.parametrize("minutes", ["0", "-1", "10001", "many"])
async def test_an_impossible_advance_changes_nothing(simulator: Simulator, minutes: str) -> None:
    status, _ = await steer(simulator, "POST", f"/sim/advance?minutes={minutes}")

    assert status == 400
    assert await ask(simulator, "/api/v3/time") == {"serverTime": START_MS}


async def test_a_running_clock_cannot_be_advanced() -> None:
    async with running(SimulatorConfig(tickers=1)) as simulator:
        status, _ = await steer(simulator, "POST", "/sim/advance")

    assert status == 409


async def test_faults_are_switched_on_and_cleared(simulator: Simulator) -> None:
    await steer(simulator, "POST", "/sim/fault", {"status": 503})
    status, told = await steer(simulator, "POST", "/sim/fault", {"skew_ms": 5_000})
    failed = await ask_response(simulator, "/api/v3/time")
    await steer(simulator, "POST", "/sim/fault", {"status": 0})
    skewed = await ask(simulator, "/api/v3/time")
    _, cleared = await steer(simulator, "DELETE", "/sim/fault")

    assert status == 200
    assert (told["status"], told["skew_ms"]) == (503, 5_000)
    assert failed.status == 503
    assert skewed == {"serverTime": START_MS + 5_000}
    assert cleared["skew_ms"] == 0


@pytest.mark.parametrize("body", [{"stauts": 503}, {"status": "many"}, [1]])
async def test_an_unknown_fault_is_refused(simulator: Simulator, body: object) -> None:
    status, _ = await steer(simulator, "POST", "/sim/fault", body)

    assert status == 400
    assert simulator.status()["faults"]["status"] == 0


@pytest.mark.parametrize(("status", "code"), [(429, -1003), (418, -1003), (500, -1000), (503, -1000)])
async def test_a_failing_status_lasts_as_many_requests_as_told(simulator: Simulator, status: int, code: int) -> None:
    simulator.set_fault(status=status, requests=2, retry_after=7)

    answers = [await ask_response(simulator, "/api/v3/ping") for _ in range(3)]

    assert [answer.status for answer in answers] == [status, status, 200]
    assert (await answers[0].json())["code"] == code
    assert (answers[0].headers.get("Retry-After") == "7") == (status in (429, 418))


async def test_the_status_tells_what_goes_on(simulator: Simulator) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{simulator.stream_url}/ws/btcusdt@kline_1m/ethusdt@kline_1m"),
    ):
        await simulator.advance(2)
        _, told = await steer(simulator, "GET", "/sim/status")

    assert told["tickers"] == 16
    assert (told["sockets"], told["streams"], told["framesSent"]) == (1, 2, 4)
    assert told["stepped"] is True


def test_a_simulator_runs_in_a_thread_for_code_without_an_event_loop() -> None:
    with running_in_thread(SimulatorConfig(tickers=2, stepped=True, start_at=START)) as simulator:
        simulator.set_fault(skew_ms=1)
        now = simulator.advance(2)
        status = simulator.status()
        simulator.clear_faults()

    assert now == START_MS + 120_000
    assert status["faults"]["skew_ms"] == 1
    assert simulator.rest_url.startswith("http://127.0.0.1:")
