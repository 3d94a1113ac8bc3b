from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from celery import shared_task

from exchanges.base import Symbol
from market import services
from market.gateway import open_exchange


@shared_task(name="market.tasks.populate_tickers", ignore_result=False)
def populate_tickers(**_: Any) -> services.PopulateCounts:
    """Discovery: asks the exchange what it lists and how much that trades. Hourly by beat, and by hand from the admin."""
    name, listed, volumes = asyncio.run(_ask())
    return services.populate_tickers(listed=listed, volumes=volumes, exchange=name, now=datetime.now(UTC))


@shared_task(name="market.tasks.prune_candles", ignore_result=False, soft_time_limit=600, time_limit=660)
def prune_candles(**_: Any) -> dict[str, int]:
    """Drops the candles past their retention. Daily by beat."""
    return services.prune_candles(now=datetime.now(UTC))


async def _ask() -> tuple[str, list[Symbol], dict[str, float]]:
    exchange = open_exchange()
    try:
        return exchange.name, await exchange.symbols(), await exchange.quote_volumes_24h()
    finally:
        await exchange.close()
