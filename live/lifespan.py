"""The `lifespan` part of the ASGI application: what runs beside the requests for as long as the process serves, and how
the process is set up for thousands of sockets.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from weakref import WeakKeyDictionary

from django.db import connection

# The threads in which sockets ask the database. Few: each takes its turn with the event loop.
THREADS: Final = 4
# Those of the relay and of the check of rights: a rush of new sockets must not keep either waiting.
URGENT_THREADS: Final = 2
# For how many seconds such a thread keeps its connection. A new one costs more than most of the questions.
CONNECTION_AGE: Final = 60

logger = logging.getLogger(__name__)

_urgent: WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPoolExecutor] = WeakKeyDictionary()


def urgent_threads() -> ThreadPoolExecutor | None:
    """For what must be asked whoever else is asking; None, hence the default ones, where no web process serves."""
    return _urgent.get(asyncio.get_running_loop())


class Lifespan:
    """An ASGI application for scope type `lifespan`: runs `run` from startup to shutdown.

    A web process without it would look healthy and deliver nothing. So if `run` ends by itself, the process is asked to
    stop, and its supervisor starts another.
    """

    def __init__(self, run: Callable[[], Awaitable[None]]) -> None:
        self._run = run

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]) -> None:
        await receive()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(THREADS, "database", _keep_connection))
        _urgent[loop] = urgent = ThreadPoolExecutor(URGENT_THREADS, "urgent", _keep_connection)
        _spare_collections()
        task = asyncio.create_task(self._watched())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        task.cancel()
        await asyncio.wait({task})
        urgent.shutdown(wait=False)
        await send({"type": "lifespan.shutdown.complete"})

    async def _watched(self) -> None:
        try:
            await self._run()
        except Exception:
            logger.exception("what the web process must run beside its requests has failed; stopping the process")
            signal.raise_signal(signal.SIGTERM)
            raise


def _keep_connection() -> None:
    """For this thread alone: a request's thread ends with the request, and would leave its connection behind."""
    connection.settings_dict = {**connection.settings_dict, "CONN_MAX_AGE": CONNECTION_AGE}


def _spare_collections() -> None:
    """What is loaded by now stays for good: no collection need ever look at it again. And they come less often.

    But they come: a socket that is gone is garbage in circles, and old by then. Asked for again after the freeze, because
    a full collection waits until what is new is a quarter of what the last one has seen.
    """
    gc.collect()
    gc.freeze()
    gc.collect()
    gc.set_threshold(10_000, 2, 2)
