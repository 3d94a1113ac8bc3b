"""What a browser may say: parsed strictly, bounded in size and in number."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

import msgspec

from live.messages import ClientMessage, PingMessage, SubscribeMessage

MAX_BYTES: Final = 64 * 1024
MAX_PAIRS: Final = 500
MESSAGES_PER_SECOND: Final = 10.0
MESSAGES_AT_ONCE: Final = 50

_LATEST_SINCE: Final = 2**53  # the integers a browser has


class NotUnderstood(ValueError):
    """The client's message is malformed. The text says what to send instead, and is sent back in an `error` frame."""


class _Head(msgspec.Struct):
    type: str


_heads = msgspec.json.Decoder(_Head)
_subscriptions = msgspec.json.Decoder(SubscribeMessage)
_pings = msgspec.json.Decoder(PingMessage)


def parse(text: str | None) -> ClientMessage:
    """One message. None stands for a binary one. Raises NotUnderstood."""
    if text is None:
        raise NotUnderstood("send text, not bytes")
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) > MAX_BYTES:
        raise NotUnderstood(f"at most {MAX_BYTES} bytes in one message")
    try:
        match _heads.decode(encoded).type:
            case "subscribe" | "unsubscribe":
                message = _subscriptions.decode(encoded)
            case "ping":
                return _pings.decode(encoded)
            case _:
                raise NotUnderstood("`type` is one of subscribe, unsubscribe, ping")
    except (msgspec.DecodeError, RecursionError) as error:
        raise NotUnderstood(f"not a message of the published schema: {error}") from error
    if len(message["pairs"]) > MAX_PAIRS:
        raise NotUnderstood(f"at most {MAX_PAIRS} pairs in one message")
    return message


def parse_since(query_string: bytes) -> int | None:
    """`since` of the connection's query string, in milliseconds since 1970; None where it is left out.

    Raises NotUnderstood.
    """
    values = parse_qs(query_string.decode("ascii", "replace"), keep_blank_values=True).get("since")
    if values is None:
        return None
    value = values[-1]
    if not (value.isascii() and value.isdecimal() and len(value) <= 16 and int(value) < _LATEST_SINCE):
        raise NotUnderstood("`since` is an instant in whole milliseconds since 1970")
    return int(value)


class Pace:
    """So many messages a second on average, so many at once."""

    def __init__(self, *, rate: float = MESSAGES_PER_SECOND, burst: int = MESSAGES_AT_ONCE) -> None:
        self._rate = rate
        self._burst = burst
        self._left = float(burst)
        self._counted_at = float("-inf")

    def allows(self, now: float) -> bool:
        """Counts one message at `now`, in seconds of a monotonic clock; False when it is one too many."""
        self._left = min(self._burst, self._left + (now - self._counted_at) * self._rate) - 1
        self._counted_at = now
        return self._left >= 0
