"""The simulated exchange as a server: started in a process of its own, or within a test."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from exchanges.simulator.config import SimulatorConfig
from exchanges.simulator.faults import FaultSwitch
from exchanges.simulator.feed import Feed
from exchanges.simulator.market import Market
from exchanges.simulator.rest import RestApi
from exchanges.simulator.streams import Streams

T = TypeVar("T")

MAX_ADVANCE = 10_000
START_SECONDS = 30


class Simulator:
    """A running simulated exchange. `rest_url` and `stream_url` are what a client is given instead of Binance's."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        self.market = Market(config)
        self.faults = FaultSwitch()
        self.streams = Streams(self.market, self.faults)
        self.feed = Feed(self.market, self.streams, self.faults)
        self.rest = RestApi(self.market, self.faults, config.weight_limit)
        self.rest_url = ""
        self.stream_url = ""
        # What follows the running clock; a stepped market has none.
        self.feeding: asyncio.Task[None] | None = None

    def application(self) -> web.Application:
        """The whole exchange as an aiohttp application."""
        application = web.Application(middlewares=[_only_loopback_may_steer])
        application.add_routes(self.rest.routes())
        application.add_routes(self.streams.routes())
        application.add_routes(
            [
                web.get("/sim/status", self._status),
                web.post("/sim/advance", self._advance),
                web.post("/sim/fault", self._set_fault),
                web.delete("/sim/fault", self._clear_faults),
            ]
        )
        return application

    async def advance(self, minutes: int) -> int:
        """Closes so many minutes of a stepped market; gives the market's time in ms."""
        return await self.feed.advance(minutes)

    def set_fault(self, **faults: int | bool) -> None:
        """Switches faults on: the fields of `exchanges.simulator.faults.Faults`."""
        self.faults.change(msgspec.json.encode(faults))
        if self.faults.now.cut:
            self.faults.now.cut = False
            self.streams.cut()

    def clear_faults(self) -> None:
        """Everything is well again."""
        self.faults.clear()

    def status(self) -> dict[str, Any]:
        """What the exchange is doing, for people and tests."""
        clock = self.market.clock
        return {
            "serverTime": clock.now_ms(),
            "stepped": clock.is_stepped,
            "replay": str(self.config.replay) if self.config.replay else None,
            "tickers": len(self.market.listings),
            "sockets": len(self.streams.connections),
            "streams": sum(len(connection.names) for connection in self.streams.connections),
            "framesSent": self.streams.frames_sent,
            "closedDropped": self.streams.dropped_closed,
            "requests": self.rest.requests,
            "faults": msgspec.to_builtins(self.faults.now),
        }

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(self.status())

    async def _advance(self, request: web.Request) -> web.Response:
        minutes = request.query.get("minutes", "1")
        if not self.market.clock.is_stepped:
            return _refused(409, "this market follows the real clock; start it with --stepped")
        if not minutes.isdecimal() or not 1 <= int(minutes) <= MAX_ADVANCE:
            return _refused(400, f"minutes must be 1 to {MAX_ADVANCE}")
        return web.json_response({"serverTime": await self.advance(int(minutes)), "minutes": int(minutes)})

    async def _set_fault(self, request: web.Request) -> web.Response:
        try:
            self.set_fault(**msgspec.json.decode(await request.read(), type=dict[str, Any]))
        except msgspec.DecodeError as error:
            return _refused(400, str(error))
        return web.json_response(msgspec.to_builtins(self.faults.now))

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self.clear_faults()
        return web.json_response(msgspec.to_builtins(self.faults.now))


@contextlib.asynccontextmanager
async def running(config: SimulatorConfig) -> AsyncIterator[Simulator]:
    """A simulated exchange that serves on this event loop for as long as the context lasts."""
    simulator = Simulator(config)
    runner = web.AppRunner(simulator.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, config.host, config.port).start()
        port = runner.addresses[0][1]
        simulator.rest_url = f"http://{config.host}:{port}"
        simulator.stream_url = f"ws://{config.host}:{port}"
        if not config.stepped:
            simulator.feeding = asyncio.create_task(simulator.feed.run())
        yield simulator
        if simulator.feeding is not None and simulator.feeding.done():
            simulator.feeding.result()  # a feed that failed is a failure of whoever relied on it
    finally:
        if simulator.feeding is not None:
            simulator.feeding.cancel()
        simulator.streams.cut()
        await runner.cleanup()


class ThreadedSimulator:
    """A simulated exchange on an event loop of its own, for code that has none."""

    def __init__(self, simulator: Simulator, loop: asyncio.AbstractEventLoop) -> None:
        self._simulator = simulator
        self._loop = loop
        self.rest_url = simulator.rest_url
        self.stream_url = simulator.stream_url

    def advance(self, minutes: int) -> int:
        """Closes so many minutes of a stepped market; gives the market's time in ms."""
        return asyncio.run_coroutine_threadsafe(self._simulator.advance(minutes), self._loop).result()

    def set_fault(self, **faults: int | bool) -> None:
        """Switches faults on: the fields of `exchanges.simulator.faults.Faults`."""
        self._call(lambda: self._simulator.set_fault(**faults))

    def clear_faults(self) -> None:
        """Everything is well again."""
        self._call(self._simulator.clear_faults)

    def status(self) -> dict[str, Any]:
        """What the exchange is doing."""
        return self._call(self._simulator.status)

    def _call(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()


@contextlib.contextmanager
def running_in_thread(config: SimulatorConfig) -> Iterator[ThreadedSimulator]:
    """A simulated exchange that serves from a thread for as long as the context lasts."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulator", daemon=True)
    thread.start()
    context = running(config)
    try:
        simulator = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(START_SECONDS)
        try:
            yield ThreadedSimulator(simulator, loop)
        finally:
            asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(START_SECONDS)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def serve(config: SimulatorConfig, announce: Callable[[Simulator], None]) -> None:
    """Runs a simulated exchange until SIGINT or SIGTERM; `announce` is called once it answers."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(config) as simulator:
        announce(simulator)
        stopping = asyncio.create_task(stop.wait())
        ends = {stopping} if simulator.feeding is None else {stopping, simulator.feeding}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)


@web.middleware
async def _only_loopback_may_steer(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    if request.path.startswith("/sim/") and not _is_loopback(request.remote):
        return _refused(403, "only this machine may steer the simulated exchange")
    return await handler(request)


def _is_loopback(address: str | None) -> bool:
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False


def _refused(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
