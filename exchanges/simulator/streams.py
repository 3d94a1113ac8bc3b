"""The WebSocket half of the simulated exchange: sockets, subscriptions, frames."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from exchanges.simulator.faults import FaultSwitch
from exchanges.simulator.market import INTERVALS, Market

logger = logging.getLogger(__name__)

# Either name is heard; python-binance uses the second.
MINI_TICKERS = ("!miniTicker@arr", "!miniTicker@arr@1000ms")
# Binance's limits of one connection.
MAX_STREAMS = 1_024
MAX_MESSAGES_PER_SECOND = 5
PING_SECONDS = 20
# So many batches may wait for a client that does not read; then it is cut, as the real exchange does.
MAX_WAITING = 512
FLUSH_SECONDS = 10.0

METHODS = ["SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY"]


class Request(msgspec.Struct):
    """A client's message. `id` may be an integer, a string of up to 36 characters, or null."""

    method: str
    params: list[object] = []
    id: int | str | None = None


class BadMessage(Exception):
    """A client's message is answered with this code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Connection:
    """One socket: what it has subscribed to, and the frames that wait to be written."""

    def __init__(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport | None, *, is_combined: bool
    ) -> None:
        self.names: dict[str, None] = {}
        self.is_combined = is_combined
        self._socket = socket
        self._transport = transport
        self._waiting: asyncio.Queue[list[str]] = asyncio.Queue(MAX_WAITING)
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._is_cut = False
        self._asked: deque[float] = deque(maxlen=MAX_MESSAGES_PER_SECOND)

    def offer(self, frames: list[str]) -> None:
        """Puts frames behind those that wait; a client that lets too many wait is cut."""
        if self._waiting.full():
            self.cut()
        elif not self._is_cut:
            self._is_idle.clear()
            self._waiting.put_nowait(frames)

    async def flushed(self) -> None:
        """Returns once everything offered so far is written; a client that does not read it in time is cut."""
        try:
            await asyncio.wait_for(self._is_idle.wait(), FLUSH_SECONDS)
        except TimeoutError:
            self.cut()

    async def write(self) -> None:
        """Writes what was offered, in order, until the socket is gone."""
        try:
            while True:
                for frame in await self._waiting.get():
                    await self._socket.send_str(frame)
                if self._waiting.empty():
                    self._is_idle.set()
        except ConnectionError:
            pass  # the reading side sees the end too
        finally:
            self.cut()

    def cut(self) -> None:
        """Ends the TCP connection without a word. Whoever waits for the frames to be written waits no longer."""
        self._is_cut = True
        self._is_idle.set()
        if self._transport is not None:
            self._transport.abort()

    def is_asking_too_much(self, now: float) -> bool:
        """Counts a message of the client against the limit per second."""
        is_full = len(self._asked) == MAX_MESSAGES_PER_SECOND
        is_too_much = is_full and now - self._asked[0] < 1.0
        self._asked.append(now)
        return is_too_much


class Streams:
    """All sockets, and who wants which stream."""

    def __init__(self, market: Market, faults: FaultSwitch) -> None:
        self._market = market
        self._faults = faults
        self._place = {listing.symbol.lower(): place for place, listing in enumerate(market.listings)}
        self.connections: set[Connection] = set()
        self._wanted: dict[str, set[Connection]] = {}
        # Interval -> market -> stream name, of what somebody wants: the feed asks several times a second.
        self.klines: dict[str, dict[int, str]] = {}
        self.frames_sent = 0
        self.dropped_closed = 0

    def routes(self) -> list[web.RouteDef]:
        """The three ways to open a socket."""
        return [
            web.get("/ws", self._open_raw),
            web.get("/ws/{names:.+}", self._open_raw),
            web.get("/stream", self._open_combined),
        ]

    def is_wanted(self, name: str) -> bool:
        """Whether anybody has subscribed to the stream."""
        return name in self._wanted

    def publish(self, payloads: Iterable[tuple[str, str]]) -> None:
        """Sends payloads, each on its stream, to everybody who wants it, in this order."""
        batches: dict[Connection, list[str]] = {}
        for name, payload in payloads:
            combined = f'{{"stream":"{name}","data":{payload}}}'
            for connection in self._wanted.get(name, ()):
                if self._faults.now.is_silent:
                    continue
                frame = self._faults.take_garbage()
                if frame is None:
                    frame = combined if connection.is_combined else payload
                batches.setdefault(connection, []).append(frame)
        for connection, frames in batches.items():
            self.frames_sent += len(frames)
            connection.offer(frames)

    async def flushed(self) -> None:
        """Returns once everything published is written to the sockets."""
        await asyncio.gather(*(connection.flushed() for connection in self.connections))

    def cut(self) -> None:
        """Cuts every socket."""
        for connection in self.connections:
            connection.cut()

    async def _open_raw(self, request: web.Request) -> web.StreamResponse:
        names = request.match_info.get("names", "")
        return await self._serve(request, names.split("/") if names else [], is_combined=False)

    async def _open_combined(self, request: web.Request) -> web.StreamResponse:
        names = request.query.get("streams", "")
        return await self._serve(request, names.split("/") if names else [], is_combined=True)

    async def _serve(self, request: web.Request, names: list[str], *, is_combined: bool) -> web.StreamResponse:
        if self._faults.now.refuse_sockets:
            return web.Response(status=503)
        socket = web.WebSocketResponse(heartbeat=PING_SECONDS, compress=False, max_msg_size=2**20)
        await socket.prepare(request)
        transport = request.transport
        connection = Connection(
            socket, transport if isinstance(transport, asyncio.Transport) else None, is_combined=is_combined
        )
        self.connections.add(connection)
        writer = asyncio.create_task(connection.write())
        try:
            self._subscribe(connection, names)
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    continue
                if connection.is_asking_too_much(asyncio.get_running_loop().time()):
                    await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"Too many requests")
                    break
                connection.offer([self._answer(connection, message.data)])
        finally:
            self._forget(connection, list(connection.names))
            self.connections.discard(connection)
            writer.cancel()
        return socket

    def _answer(self, connection: Connection, text: str) -> str:
        asked_id: int | str | None = None
        try:
            try:
                request = msgspec.json.decode(text, type=Request)
            except msgspec.ValidationError as error:
                raise BadMessage(2, f"Invalid request: {error}") from error
            except msgspec.DecodeError as error:
                raise BadMessage(3, f"Invalid JSON: {error}") from error
            asked_id = request.id
            reply: dict[str, object] = {"result": self._carry_out(connection, request), "id": asked_id}
        except BadMessage as bad:
            reply = {"code": bad.code, "msg": str(bad), "id": asked_id}
        return msgspec.json.encode(reply).decode()

    def _carry_out(self, connection: Connection, request: Request) -> object:
        match request:
            case Request("LIST_SUBSCRIPTIONS", []):
                return list(connection.names)
            case Request("SUBSCRIBE" | "UNSUBSCRIBE", params) if all(isinstance(name, str) for name in params):
                change = self._subscribe if request.method == "SUBSCRIBE" else self._forget
                change(connection, [str(name) for name in params])
                return None
            case Request("GET_PROPERTY", ["combined"]):
                return connection.is_combined
            case Request("SET_PROPERTY", ["combined", bool(value)]):
                connection.is_combined = value
                return None
            case Request("SET_PROPERTY" | "GET_PROPERTY", _):
                raise BadMessage(0, "Unknown property")
            case Request(method) if method in METHODS:
                raise BadMessage(2, "Invalid request: invalid parameters")
        expected = ", ".join(f"`{method}`" for method in METHODS)
        raise BadMessage(2, f"Invalid request: unknown variant `{request.method}`, expected one of {expected}")

    def _subscribe(self, connection: Connection, names: list[str]) -> None:
        """A name that no market has is accepted and never sends, as on the real exchange."""
        if len(connection.names.keys() | names) > MAX_STREAMS:
            raise BadMessage(2, f"Invalid request: a connection can listen to at most {MAX_STREAMS} streams")
        for name in names:
            connection.names[name] = None
            self._wanted.setdefault(name, set()).add(connection)
            if (kline := self._kline(name)) is not None:
                interval, market = kline
                self.klines.setdefault(interval, {})[market] = name

    def _forget(self, connection: Connection, names: list[str]) -> None:
        for name in names:
            connection.names.pop(name, None)
            listeners = self._wanted.get(name, set())
            listeners.discard(connection)
            if listeners:
                continue
            self._wanted.pop(name, None)
            if (kline := self._kline(name)) is not None:
                interval, market = kline
                self.klines.get(interval, {}).pop(market, None)

    def _kline(self, name: str) -> tuple[str, int] | None:
        symbol, _, interval = name.partition("@kline_")
        market = self._place.get(symbol)
        return None if market is None or interval not in INTERVALS else (interval, market)
