"""The process that keeps candles coming in: streams, gaps, backfill, Postgres, candle store, watermark."""

from __future__ import annotations

from market.heartbeat.process import Heartbeat
from market.heartbeat.timings import Timings

__all__ = ["Heartbeat", "Timings"]
