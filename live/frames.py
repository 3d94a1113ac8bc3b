"""A frame as bytes: encoded once by whoever publishes it, and never again on its way to a thousand sockets."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from live.messages import ServerFrame

# Far below what Redis lets a subscriber fall behind (8 MB for a minute), far above one task's frames.
BATCH_BYTES: Final = 1_000_000

Delivery = tuple[str, ServerFrame]
"""A group and the frame it gets."""


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One frame of one group, ready for `send`."""

    type: str
    message: dict[str, Any]  # the ASGI message; every member is handed this same object
    key: Hashable  # of the line it speaks about: in front of a slow reader, frames with one key replace each other
    order: int  # among frames of one key the greater is the newer
    identity: int | None  # the same for the same frame of the same group, in this process; None: may be repeated


class _Head(msgspec.Struct):
    """What the key, order and identity of any frame are made of."""

    type: str
    configuration: int = 0
    ticker: str = ""
    closed_at: int = 0
    feed: str = ""
    slot: int = 0
    exchange: str = ""
    at: int = 0
    id: str = ""


_heads = msgspec.json.Decoder(_Head)
_batches = msgspec.json.Decoder(list[tuple[str, msgspec.Raw]])


def message_of(frame: ServerFrame) -> dict[str, Any]:
    """The ASGI message that carries the frame."""
    return {"type": "websocket.send", "text": msgspec.json.encode(frame).decode()}


def encode(group: str, frame: ServerFrame) -> EncodedFrame:
    """The frame, ready for the members of the group."""
    return read(group, msgspec.json.encode(frame))


def read(group: str, encoded: bytes | msgspec.Raw) -> EncodedFrame:
    """The same from its JSON. Raises msgspec.DecodeError where that is no frame."""
    head = _heads.decode(encoded)
    key: Hashable
    identity: Hashable = None
    match head.type:
        case "signal":
            key, order = (group, "signal", head.configuration, head.ticker), head.closed_at
            identity = (key, order)
        case "sweep_closed":
            key, order = (group, "sweep_closed", head.feed), head.slot
            identity = (key, order)
        case "notification":
            key, order = (group, "notification", head.id), 0
            identity = key
        case _:
            key, order = (group, head.type, head.exchange), head.at
    message = {"type": "websocket.send", "text": str(encoded, "utf-8")}
    return EncodedFrame(head.type, message, key, order, None if identity is None else hash(identity))


def encode_batches(deliveries: Sequence[Delivery], *, limit: int = BATCH_BYTES) -> Iterator[bytes]:
    """The deliveries in order, as JSON arrays of [group, frame] of at most `limit` bytes (or one single frame)."""
    batch: list[bytes] = []
    size = 0
    for delivery in deliveries:
        encoded = msgspec.json.encode(delivery)
        if batch and size + len(encoded) > limit:
            yield b"[" + b",".join(batch) + b"]"
            batch, size = [], 0
        batch.append(encoded)
        size += len(encoded) + 1
    if batch:
        yield b"[" + b",".join(batch) + b"]"


def decode_batch(data: bytes) -> list[tuple[str, msgspec.Raw]]:
    """(group, the frame's JSON) in order. Raises msgspec.DecodeError."""
    return _batches.decode(data)
