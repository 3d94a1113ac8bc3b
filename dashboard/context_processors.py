from __future__ import annotations

import tomllib
from functools import cache
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
            "version": version(),
        }
    }


@cache
def version() -> str:
    """The product's version, from the one place that has it."""
    project = settings.BASE_DIR / "pyproject.toml"
    return str(tomllib.loads(project.read_text())["project"]["version"])
