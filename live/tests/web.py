"""A real web server in a thread, with the house's layer, relay and consumer, and a browser that speaks to it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, cast

import jsonschema
import uvicorn
from channels.layers import get_channel_layer
from websockets.asyncio.client import ClientConnection, connect

from live.consumers import LiveConsumer
from live.frames import Delivery, text_of
from live.groups import MARKET_GROUP, group_name, user_group
from live.layer import LiveChannelLayer
from live.lifespan import Lifespan
from live.messages import Pair, RefusedPair, ServerFrame, SignalFrame, SweepClosedFrame
from live.relay import CatchUp, Relay, Wanted
from live.schema import json_schema

BTC = group_name("rsi", "BTCUSDT")
ETH = group_name("rsi", "ETHUSDT")

_validator = jsonschema.Draft202012Validator(json_schema())


def signal_frame(ticker: str = "BTCUSDT", *, closed_at: int, reason: str = "") -> SignalFrame:
    return {
        "type": "signal",
        "v": 1,
        "feed": "central",
        "configuration": 1,
        "algorithm": "rsi",
        "ticker": ticker,
        "timeframe": "2m",
        "closed_at": closed_at,
        "slot": closed_at,
        "signal": "BUY",
        "is_call": True,
        "value": 29.5,
        "price": 64_000.0,
        "reason": reason,
    }


def sweep_closed_frame(*, slot: int) -> SweepClosedFrame:
    return {
        "type": "sweep_closed",
        "v": 1,
        "feed": "central",
        "slot": slot,
        "closed_at": slot + 1,
        "duration_ms": 400,
        "tickers": 2,
        "ok": 2,
        "stale": 0,
        "failed": 0,
        "missing": 0,
        "results": 2,
        "calls": 0,
    }


@dataclass
class Person:
    """What LiveConsumer asks of a user, and what the test lets him do."""

    pk: int
    name: str
    groups: list[str] = field(default_factory=list)
    history: list[ServerFrame] | None = field(default_factory=list)
    is_authenticated: bool = True
    has_rights: bool = True
    most_sockets: int = 100_000

    def get_username(self) -> str:
        return self.name


def alice() -> Person:
    return Person(1, "alice", [BTC, ETH, user_group(1), MARKET_GROUP])


def bob() -> Person:
    return Person(2, "bob", [BTC, user_group(2), MARKET_GROUP])


class FollowConsumer(LiveConsumer):
    """An app's consumer, with the person's own lists in the place of the database. Tickers that start with X are refused."""

    async def may_join(self, user: Any) -> tuple[int, Sequence[str]]:
        return user.most_sockets, user.groups

    async def can_join(self, user: Any, pairs: Sequence[Pair]) -> list[RefusedPair]:
        return [{**pair, "reason": "not listed"} for pair in pairs if pair["ticker"].startswith("X")]

    async def replay(self, user: Any, since: int) -> list[str] | None:
        return None if user.history is None else [text_of(frame) for frame in user.history]

    async def rights_hold(self, user: Any) -> bool:
        return bool(user.has_rights)


async def nothing_new(cursor: int | None, wanted: Wanted) -> tuple[Sequence[Delivery], int]:
    return [], 0


class WebProcess:
    """One web process: its own event loop, table and relay. `people` log in by the first part of the path."""

    def __init__(
        self,
        *,
        live_url: str,
        people: Sequence[Person] = (),
        consumer: type[LiveConsumer] = FollowConsumer,
        catch_up: CatchUp[int] = nothing_new,
        catch_up_every: float = 5.0,
        silence: float = 5.0,
        loop: str = "auto",
    ) -> None:
        self._people = {person.name: person for person in people or (alice(), bob())}
        self._consumer: Any = consumer.as_asgi()
        self._relay = Relay(
            layer=cast("LiveChannelLayer", get_channel_layer()),
            url=live_url,
            catch_up=catch_up,
            catch_up_every=catch_up_every,
            silence=silence,
        )
        self._lifespan = Lifespan(self._relay.run)
        self._listening = socket.socket()
        # Small, so that a reader who stops is noticed after kilobytes and not after megabytes.
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self._listening.bind(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listening.getsockname()
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            ws="live.websocket:LiveProtocol",
            ws_per_message_deflate=False,
            lifespan="on",
            loop=cast("Any", loop),
            log_config=None,  # the tests' own logging stays as it is
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listening]}, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()

    def browser(self, name: str, *, query: str = "") -> Browser:
        return Browser(self.address, f"/{name}{query}")

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            scope["user"] = self._people.get(scope["path"].strip("/"))
            await self._consumer(scope, receive, send)


class Browser:
    """A real WebSocket client with small buffers. Checks every frame it reads against the published schema."""

    def __init__(self, address: tuple[str, int], path: str) -> None:
        self._address = address
        self._path = path

    async def __aenter__(self) -> Self:
        own = socket.socket()
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        own.setblocking(False)
        await asyncio.get_running_loop().sock_connect(own, self._address)
        uri = f"ws://{self._address[0]}:{self._address[1]}{self._path}"
        self.connection: ClientConnection = await connect(
            uri, sock=own, compression=None, max_queue=1, ping_interval=None, close_timeout=1
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.connection.close()

    async def read(self) -> dict[str, Any]:
        async with asyncio.timeout(20):
            frame: dict[str, Any] = json.loads(await self.connection.recv())
        _validator.validate(frame)
        return frame

    async def read_until(self, kind: str) -> list[dict[str, Any]]:
        """Every frame up to the first of that type, which is the last of the list."""
        frames = [await self.read()]
        while frames[-1]["type"] != kind:
            frames.append(await self.read())
        return frames

    async def say(self, message: object) -> None:
        await self.connection.send(json.dumps(message))
