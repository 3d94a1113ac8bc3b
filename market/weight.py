"""How much request weight the heartbeat has spent: told to whoever watches, by the live store."""

from __future__ import annotations

import msgspec
from django.conf import settings

from market.connection import live_store

_KEPT_FOR = 120  # seconds: of a heartbeat that has ended nothing is known


class Weight(msgspec.Struct, frozen=True):
    """Request weight of the current minute, and how much the exchange allows."""

    used: int
    limit: int


def publish(used: int, limit: int, exchange: str) -> None:
    """Tells every process. Raises redis.RedisError."""
    live_store().set(_key(exchange), msgspec.json.encode(Weight(used, limit)), ex=_KEPT_FOR)


def read(exchange: str | None = None) -> Weight | None:
    """What the heartbeat told last, if that is recent. Raises redis.RedisError."""
    stored = live_store().get(_key(exchange or settings.EXCHANGE))
    return msgspec.json.decode(stored, type=Weight) if isinstance(stored, bytes) else None


def _key(exchange: str) -> str:
    return f"market:weight:{exchange}"
