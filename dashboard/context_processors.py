from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest

EXCHANGE_NAMES = {"simulated": "Simulated exchange", "binance": "Binance", "bitget": "Bitget", "kraken": "Kraken"}


def installation(request: HttpRequest) -> dict[str, Any]:
    """What every page says of this installation: where its market data come from, and its version."""
    return {
        "installation": {
            "is_simulated": settings.IS_SIMULATED,
            "exchange": EXCHANGE_NAMES.get(settings.EXCHANGE, settings.EXCHANGE.title()),
            "version": settings.VERSION,
        }
    }
