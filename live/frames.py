"""A frame as bytes: encoded once by whoever publishes it, and never again on its way to a thousand sockets."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from live.messages import ServerFrame

# Far below what Redis lets a subscriber fall behind (8 MB for a minute), far above one task's frames.
BATCH_BYTES: Final = 1_000_000

Delivery = tuple[str, ServerFrame]
"""A group and the frame it gets."""


class EncodedFrame(msgspec.Struct, frozen=True, gc=False):  # no circle goes through it
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


class _Published(msgspec.Struct, tag_field="type", tag="published"):
    """The first entry of a batch, for the group that nobody can join: what hears it as a frame delivers it to nobody."""

    at: int  # microseconds since 1970 UTC, by the publisher's clock


@dataclass(frozen=True, slots=True)
class Batch:
    """What was published together."""

    published_at: float | None  # seconds since 1970 UTC; None where the publisher is too old to say
    frames: list[tuple[str, msgspec.Raw]]  # group and the frame's JSON, in order


_NOBODY: Final = ""

_heads = msgspec.json.Decoder(_Head)
_batches = msgspec.json.Decoder(list[tuple[str, msgspec.Raw]])
_published = msgspec.json.Decoder(_Published)


def text_of(frame: ServerFrame) -> str:
    """The frame as JSON."""
    return msgspec.json.encode(frame).decode()


def message_of(text: str) -> dict[str, Any]:
    """The ASGI message that carries a frame's JSON."""
    return {"type": "websocket.send", "text": text}


def encode(group: str, frame: ServerFrame) -> EncodedFrame:
    """The frame, ready for the members of the group."""
    return read(group, msgspec.json.encode(frame))


def identity_of(group: str, frame: ServerFrame) -> int | None:
    """What its EncodedFrame's would be, without encoding it; None also where that is not known so cheaply."""
    if frame["type"] == "signal":
        return identity_of_signal(group, frame["configuration"], frame["ticker"], frame["closed_at"])
    return None


def identity_of_signal(group: str, configuration: int, ticker: str, closed_at: int) -> int:
    """The identity of the frame of this verdict, without the frame."""
    return hash(_key_of_signal(group, configuration, ticker, closed_at))


def _key_of_signal(group: str, configuration: int, ticker: str, closed_at: int) -> tuple[Hashable, int]:
    return (group, "signal", configuration, ticker), closed_at


def read(group: str, encoded: bytes | msgspec.Raw) -> EncodedFrame:
    """The same from its JSON. Raises msgspec.DecodeError where that is no frame."""
    head = _heads.decode(encoded)
    key: Hashable
    identity: Hashable = None
    match head.type:
        case "signal":
            identity = key, order = _key_of_signal(group, head.configuration, head.ticker, head.closed_at)
        case "sweep_closed":
            identity = key, order = (group, "sweep_closed", head.feed), head.slot
        case "notification":
            key, order = (group, "notification", head.id), 0
            identity = key
        case _:
            key, order = (group, head.type, head.exchange), head.at
    message = message_of(str(encoded, "utf-8"))
    return EncodedFrame(head.type, message, key, order, None if identity is None else hash(identity))


def encode_batches(deliveries: Sequence[Delivery], *, limit: int = BATCH_BYTES) -> Iterator[bytes]:
    """The deliveries in order, as JSON arrays of [group, frame] of at most `limit` bytes (or one single frame).

    Each starts with the instant it was made, in an entry of its own.
    """
    if not deliveries:
        return
    stamp = _NOBODY, _Published(time.time_ns() // 1000)
    encoded = msgspec.json.encode([stamp, *deliveries])
    if len(encoded) <= limit or len(deliveries) == 1:
        yield encoded
        return
    middle = len(deliveries) // 2
    yield from encode_batches(deliveries[:middle], limit=limit)
    yield from encode_batches(deliveries[middle:], limit=limit)


def decode_batch(data: bytes) -> Batch:
    """The reverse. Raises msgspec.DecodeError."""
    frames = _batches.decode(data)
    if not frames or frames[0][0] != _NOBODY:
        return Batch(None, frames)
    return Batch(_published.decode(frames[0][1]).at / 1e6, frames[1:])
