"""Binance's spot market: REST through python-binance, streams on a client of our own."""

from __future__ import annotations

from exchanges.binance.rest import REST_URL, STREAM_URL, BinanceMarketData
from exchanges.binance.streams import StreamTimings

__all__ = ["REST_URL", "STREAM_URL", "BinanceMarketData", "StreamTimings"]
