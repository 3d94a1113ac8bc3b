"""uvicorn's side of a WebSocket, less what it does once more for every member of a group: `--ws live.websocket:LiveProtocol`."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State

_last_encoded: tuple[str | None, bytes] = None, b""


class LiveProtocol(WebSocketsSansIOProtocol):
    """What is sent to many sockets, one after the other, is encoded once: a server's frames are the same for all.

    Everything else is uvicorn's: the handshake, closing, waiting for a reader, a connection that compresses or whose frames
    are logged.
    """

    async def send(self, message: Any) -> None:
        text = message.get("text")
        is_open = self.conn.state is State.OPEN and not self.disconnected
        is_plain = not self.conn.extensions and not self.conn.debug
        if text is not None and is_open and is_plain and self.writable.is_set():
            self.transport.write(_frame_of(text))
        else:
            await super().send(message)


def _frame_of(text: str) -> bytes:
    """The frame as it goes over the wire. The same object of text as the last time is not encoded again."""
    global _last_encoded
    known, frame = _last_encoded
    if text is not known:
        frame = Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
        _last_encoded = text, frame
    return frame
