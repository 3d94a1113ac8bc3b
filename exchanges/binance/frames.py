"""What Binance's sockets say: a frame is a candle, the answer to a request, or something to be counted and left."""

from __future__ import annotations

import msgspec

from engine.candles import TIMEFRAMES
from exchanges.base import KlineEvent, TemporaryError

INFINITY = float("inf")
# The year 2109: a later opening time is no time.
LATEST_MS = 2**42


class StreamRefused(TemporaryError):
    """The exchange answered a SUBSCRIBE with a complaint, or said that it is shutting down. Remedy: connect again."""


class UnreadableFrame(Exception):
    """A frame that is neither a sound candle nor an answer. Remedy: count it and read on."""


class _Kline(msgspec.Struct):
    t: int
    s: str
    i: str
    o: float
    c: float
    h: float
    l: float  # noqa: E741
    v: float
    x: bool


class _Event(msgspec.Struct):
    e: str
    E: int
    k: _Kline | None = None


class _Frame(msgspec.Struct):
    """A kline (`data`), the answer to a request (`id`), or a complaint (`code` or `error`)."""

    data: _Event | None = None
    id: int | None = None
    code: int | None = None
    msg: str | None = None
    error: dict[str, object] | None = None


# Not strict: Binance's prices are numbers in strings.
_decoder = msgspec.json.Decoder(_Frame, strict=False)


def read_frame(raw: bytes) -> KlineEvent | int:
    """The candle in a frame of a combined stream, or the id of the request that it confirms.

    Raises UnreadableFrame for anything else, and StreamRefused for a complaint or a farewell.
    """
    try:
        frame = _decoder.decode(raw)
    # Nesting without end is a RecursionError, bytes that are no text a UnicodeDecodeError.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableFrame(str(error)) from error
    if frame.data is not None:
        return _candle(frame.data)
    if frame.error is not None or frame.code is not None:
        raise StreamRefused(f"the exchange refused a request: {frame.error or (frame.code, frame.msg)}")
    if frame.id is None:
        raise UnreadableFrame("neither a candle nor an answer")
    return frame.id


def _candle(event: _Event) -> KlineEvent:
    if event.e == "serverShutdown":
        raise StreamRefused("the exchange is shutting this connection's server down")
    kline = event.k
    if kline is None:
        raise UnreadableFrame(f"no candle in an event {event.e!r}")
    if kline.i not in TIMEFRAMES or kline.t % TIMEFRAMES[kline.i] or not 0 < kline.t < LATEST_MS:
        raise UnreadableFrame("a time that no candle opens at")
    # Every number takes part in a comparison of its own: that is what a NaN fails.
    is_sound = 0 < kline.l <= kline.o <= kline.h < INFINITY and kline.l <= kline.c <= kline.h
    if not (is_sound and 0 <= kline.v < INFINITY):
        raise UnreadableFrame("numbers that cannot be a candle")
    return KlineEvent(
        kline.s, kline.i, kline.t, kline.o, kline.h, kline.l, kline.c, kline.v, kline.x, event_time=event.E
    )
