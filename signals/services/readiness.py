"""Whether the candles a sweep needs are in."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime, timedelta

from django.conf import settings
from redis import RedisError

from market import watermark
from market.models import HeartbeatStatus
from signals.models import AlgorithmPreferences
from signals.services.evaluation import from_ms, last_close

logger = logging.getLogger(__name__)

# What the heartbeat noted longer ago than this is no knowledge of the present.
RECENT = timedelta(seconds=30)


def lateness(*, slot: datetime, timeframes: Collection[str], now: datetime) -> str | None:
    """What is late for a sweep at `slot`, in words; empty where nothing is; None before any backfill is done."""
    marks = _watermarks(now)
    if not any(timeframe in marks for timeframe in timeframes):
        return None
    late = {timeframe: _late(marks.get(timeframe), last_close(timeframe, slot)) for timeframe in sorted(timeframes)}
    return "; ".join(f"{timeframe} candles {words}" for timeframe, words in late.items() if words)


def central_timeframes() -> set[str]:
    """The timeframes the central feed runs on."""
    return set(AlgorithmPreferences.objects.central().values_list("configuration__timeframe", flat=True))


def _watermarks(now: datetime) -> dict[str, datetime]:
    """From Redis, or from what the heartbeat has just noted in Postgres where Redis is away or came back empty."""
    try:
        marks = watermark.read()
    except RedisError as error:
        logger.warning("the watermark is read from Postgres (%s)", type(error).__name__)
        marks = {}
    if marks:
        return marks
    noted = HeartbeatStatus.objects.filter(exchange=settings.EXCHANGE, updated_at__gt=now - RECENT).first()
    return {} if noted is None else {timeframe: from_ms(at) for timeframe, at in noted.watermarks.items()}


def _late(mark: datetime | None, needed: datetime) -> str:
    if mark is None:
        return "not there yet"
    return f"complete only up to {mark:%H:%M:%S}" if mark < needed else ""
