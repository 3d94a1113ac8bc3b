"""The exchange this installation is set to."""

from __future__ import annotations

from django.conf import settings

from exchanges import open_market_data
from exchanges.base import MarketData


def open_exchange() -> MarketData:
    """A client of settings.EXCHANGE. Close it after use; it belongs to the event loop that uses it first."""
    if settings.IS_SIMULATED:
        url = settings.SIMULATOR_URL.rstrip("/")
        return open_market_data("simulated", rest_url=url, stream_url=url.replace("http", "ws", 1))
    return open_market_data(settings.EXCHANGE)
