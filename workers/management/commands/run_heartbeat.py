"""Runs the process that brings the market in."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.core.management.base import BaseCommand

from market import clock
from market.gateway import open_exchange
from market.heartbeat import Heartbeat
from signals.services.configurations import timeframes_in_use
from signals.services.readiness import is_central_ready
from signals.tasks import central_sweep


class Command(BaseCommand):
    help = (
        "Streams the candles of every followed ticker into Postgres and the candle store, until SIGTERM. "
        "Run one per exchange; a second one beside it does no harm."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        asyncio.run(_run())


async def _run() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    heartbeat = Heartbeat(open_exchange(), timeframes_in_use, is_simulated=settings.IS_SIMULATED)
    first_sweep = asyncio.create_task(_ask_for_the_first_sweep())
    await heartbeat.run(stop)
    first_sweep.cancel()


async def _ask_for_the_first_sweep() -> None:
    """Runs the central sweep as soon as the backfill is done instead of at the next slot. If beat was quicker: nothing."""
    is_ready = False
    while not is_ready:
        await asyncio.sleep(0.5)
        is_ready = await database_sync_to_async(is_central_ready)(at=clock.now(), now=datetime.now(UTC))
    await asyncio.to_thread(central_sweep.apply_async, expires=60)
