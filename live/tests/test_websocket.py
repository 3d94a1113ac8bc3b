"""What our server writes, byte for byte beside uvicorn's own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvicorn

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

OURS, STOCK = "live.websocket:LiveProtocol", "websockets-sansio"
NORMAL_CLOSE = b"\x88\x02\x03\xe8"
# Around the lengths at which a frame's head grows; twice the same object, as to two members; more bytes than letters.
LONG = "x" * 70_000
TEXTS = ["", "a", "x" * 125, "x" * 126, "x" * 65_535, "x" * 65_536, LONG, LONG, "Überkauft, 取引, 🚀", "a"]


@contextlib.contextmanager
def serving(app: App, *, ws: str, compresses: bool = False) -> Iterator[tuple[str, int]]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        config = uvicorn.Config(
            app, interface="asgi3", ws=ws, ws_per_message_deflate=compresses, lifespan="off", log_config=None
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = True
            thread.join()


def knock(address: tuple[str, int]) -> socket.socket:
    """A client's handshake, which offers to compress."""
    words = [
        "GET / HTTP/1.1",
        f"Host: {address[0]}:{address[1]}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Extensions: permessage-deflate",
    ]
    client = socket.create_connection(address, timeout=20)
    client.sendall("\r\n".join([*words, "", ""]).encode())
    return client


async def speak(scope: Any, receive: Receive, send: Send) -> None:
    """Says all there is to say, something that is no text too, and closes."""
    await receive()
    await send({"type": "websocket.accept"})
    for text in TEXTS:
        await send({"type": "websocket.send", "text": text})
    await send({"type": "websocket.send", "bytes": b"\x00\x01"})
    await send({"type": "websocket.close", "code": 1000})


def heard(app: App, *, ws: str, compresses: bool = False) -> bytes:
    """Everything up to the close, less the head of the handshake's answer."""
    with serving(app, ws=ws, compresses=compresses) as address, knock(address) as client:
        told = b""
        while not told.endswith(NORMAL_CLOSE):
            part = client.recv(1 << 16)
            assert part, "the server hung up"
            told += part
    return told.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("compresses", [False, True])
def test_it_writes_what_uvicorn_writes(*, compresses: bool) -> None:
    ours = heard(speak, ws=OURS, compresses=compresses)

    assert ours == heard(speak, ws=STOCK, compresses=compresses)
    assert (len(ours) < 10_000) == compresses


@pytest.mark.parametrize("end", ["gone", "closed"])
@pytest.mark.parametrize("ws", [OURS, STOCK])
def test_after_the_end_a_text_is_refused_as_by_uvicorn(ws: str, end: str) -> None:
    """Where a write went nowhere without a word, a socket that is gone would never be noticed."""
    refused: list[Exception] = []
    is_over = threading.Event()

    async def speak_on(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if end == "closed":
            await send({"type": "websocket.close", "code": 1000})
        assert (await receive())["type"] == "websocket.disconnect"
        try:
            async with asyncio.timeout(20):
                await send({"type": "websocket.send", "text": "too late"})
        except (OSError, RuntimeError) as error:
            refused.append(error)
        finally:
            is_over.set()

    with serving(speak_on, ws=ws) as address, knock(address) as client:
        assert b"101" in client.recv(1 << 16)
        client.close()
        assert is_over.wait(20)

    assert [isinstance(error, OSError if end == "gone" else RuntimeError) for error in refused] == [True]


def test_a_text_is_encoded_once_for_all_who_get_it_in_turn() -> None:
    made: list[str] = []

    class Counted(str):
        def encode(self, *_: Any, **__: Any) -> bytes:
            made.append(self)
            return super().encode()

    first, second = Counted("first"), Counted("second")

    async def speak_twice(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for text in (first, first, second, second, second):
            await send({"type": "websocket.send", "text": text})
        await send({"type": "websocket.close", "code": 1000})

    heard(speak_twice, ws=OURS)

    assert made == ["first", "second"]
