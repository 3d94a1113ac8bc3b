"""Runs the process that brings the market in."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from market.gateway import open_exchange
from market.heartbeat import Heartbeat
from signals.services.configurations import timeframes_in_use


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
    await heartbeat.run(stop)
