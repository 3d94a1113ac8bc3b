"""The `lifespan` part of the ASGI application: what runs beside the requests for as long as the process serves."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any

logger = logging.getLogger(__name__)


class Lifespan:
    """An ASGI application for scope type `lifespan`: runs `run` from startup to shutdown.

    A web process without it would look healthy and deliver nothing. So if `run` ends by itself, the process is asked to
    stop, and its supervisor starts another.
    """

    def __init__(self, run: Callable[[], Awaitable[None]]) -> None:
        self._run = run

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]) -> None:
        await receive()
        task = asyncio.create_task(self._watched())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        task.cancel()
        await asyncio.wait({task})
        await send({"type": "lifespan.shutdown.complete"})

    async def _watched(self) -> None:
        try:
            await self._run()
        except Exception:
            logger.exception("what the web process must run beside its requests has failed; stopping the process")
            signal.raise_signal(signal.SIGTERM)
            raise
