"""uvicorn's side of a WebSocket, less what it does once more for every member of a group: `uvicorn --ws live.websocket:Protocol`."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State

_newest: tuple[str | None, bytes] = None, b""


class Protocol(WebSocketsSansIOProtocol):
    """What is sent to many sockets, one after the other, is encoded once: a server's frames are the same for all.

    Everything else is uvicorn's: the handshake, closing, waiting for a reader, a connection that compresses.
    """

    async def send(self, message: Any) -> None:
        text = message.get("text")
        is_open = self.conn.state is State.OPEN and not self.disconnected
        if text is not None and is_open and self.writable.is_set() and not self.conn.extensions:
            self.transport.write(_frame_of(text))
        else:
            await super().send(message)


def _frame_of(text: str) -> bytes:
    """The frame as it goes over the wire. The same object of text as the last time is not encoded again."""
    global _newest
    known, frame = _newest
    if text is not known:
        frame = Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
        _newest = text, frame
    return frame
