"""How far closed candles are complete, per timeframe: what a sweep waits for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import msgspec
from django.conf import settings

from market.connection import live_store

# A watermark names so many late tickers at most: beyond that the exchange is late, not a ticker.
MAX_LATE = 200


class _Stored(msgspec.Struct):
    watermarks: dict[str, int]
    late: list[int]


def publish(watermarks: Mapping[str, int], late: Collection[int] = ()) -> bool:
    """Says that of every followed ticker all candles of a timeframe that closed up to an instant are in the store.

    `watermarks`: timeframe -> ms since 1970 UTC. `late`: ids of the tickers that hold them back, at most MAX_LATE are
    kept. A minute for which the exchange has no candle is complete once the exchange has said so.
    Returns whether the live store held a watermark before: if not, it is new or was emptied. Raises redis.RedisError.
    """
    stored = _Stored(dict(watermarks), sorted(late)[:MAX_LATE])
    return live_store().set(_key(), msgspec.json.encode(stored), get=True) is not None


def read() -> dict[str, datetime]:
    """Timeframe -> the instant up to which its candles are complete. Empty while unknown. Raises redis.RedisError."""
    return {
        timeframe: datetime.fromtimestamp(milliseconds / 1000, UTC)
        for timeframe, milliseconds in _read().watermarks.items()
    }


def late_tickers() -> list[int]:
    """The ids of the tickers (at most MAX_LATE) that hold the watermark back. Raises redis.RedisError."""
    return _read().late


def _read() -> _Stored:
    stored = live_store().get(_key())
    return msgspec.json.decode(stored, type=_Stored) if isinstance(stored, bytes) else _Stored({}, [])


def _key() -> str:
    return f"market:watermark:{settings.EXCHANGE}"
