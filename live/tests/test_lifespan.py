from __future__ import annotations

import asyncio
import gc
import signal
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.db import connection

from live.lifespan import THREADS, Lifespan, urgent_threads


@pytest.fixture(autouse=True)
def _collections_as_before() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


class Server:
    """The server's side of the lifespan protocol."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.answers: list[str] = []

    async def send(self, message: dict[str, Any]) -> None:
        self.answers.append(message["type"])


async def test_it_runs_from_startup_to_shutdown() -> None:
    steps: list[str] = []

    async def run() -> None:
        steps.append("started")
        try:
            await asyncio.Event().wait()
        finally:
            steps.append("ended")

    server = Server()
    lifespan = asyncio.create_task(Lifespan(run)({"type": "lifespan"}, server.events.get, server.send))
    server.events.put_nowait({"type": "lifespan.startup"})
    await asyncio.sleep(0.01)
    assert (steps, server.answers) == (["started"], ["lifespan.startup.complete"])

    server.events.put_nowait({"type": "lifespan.shutdown"})
    await lifespan

    assert (steps, server.answers[1:]) == (["started", "ended"], ["lifespan.shutdown.complete"])


async def test_a_failure_stops_the_process_instead_of_leaving_it_deaf(caplog: pytest.LogCaptureFixture) -> None:
    stopped: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))

    async def run() -> None:
        raise KeyError("a fault of ours")

    server = Server()
    try:
        lifespan = asyncio.create_task(Lifespan(run)({"type": "lifespan"}, server.events.get, server.send))
        server.events.put_nowait({"type": "lifespan.startup"})
        await asyncio.sleep(0.01)
        server.events.put_nowait({"type": "lifespan.shutdown"})
        await lifespan
    finally:
        signal.signal(signal.SIGTERM, previous)

    assert stopped == [signal.SIGTERM]
    assert "a fault of ours" in caplog.text


@asynccontextmanager
async def living_process() -> AsyncIterator[None]:
    """A web process between its startup and its shutdown."""

    async def run() -> None:
        await asyncio.Event().wait()

    server = Server()
    lifespan = asyncio.create_task(Lifespan(run)({"type": "lifespan"}, server.events.get, server.send))
    server.events.put_nowait({"type": "lifespan.startup"})
    await asyncio.sleep(0.01)
    yield
    server.events.put_nowait({"type": "lifespan.shutdown"})
    await lifespan


class Circle:
    """Garbage that only a collection finds, as a socket is that has gone."""

    def __init__(self) -> None:
        self.itself = self


async def test_what_is_garbage_after_a_long_life_is_collected_before_many_more_have_come() -> None:
    async with living_process():
        circle = Circle()
        is_there = weakref.ref(circle)
        gc.collect()  # it is old now
        del circle

        newer: list[list[int]] = [[] for _ in range(200_000)]

        assert is_there() is None
        assert len(newer) == 200_000


def backend_pid() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
async def test_the_threads_that_ask_for_sockets_are_few_and_keep_their_connections() -> None:
    async with living_process():
        ask = database_sync_to_async(backend_pid, thread_sensitive=False)
        pids = set(await asyncio.gather(*(ask() for _ in range(40))))
        again = set(await asyncio.gather(*(ask() for _ in range(40))))

        assert len(pids | again) <= THREADS


async def test_what_is_urgent_is_asked_though_every_other_thread_is_taken() -> None:
    async def run() -> None:
        await asyncio.Event().wait()

    assert urgent_threads() is None
    server = Server()
    may_end = threading.Event()
    lifespan = asyncio.create_task(Lifespan(run)({"type": "lifespan"}, server.events.get, server.send))
    server.events.put_nowait({"type": "lifespan.startup"})
    await asyncio.sleep(0.01)
    loop = asyncio.get_running_loop()
    rush = [loop.run_in_executor(None, may_end.wait) for _ in range(THREADS * 3)]
    try:
        async with asyncio.timeout(10):
            assert await loop.run_in_executor(urgent_threads(), sum, [1, 2]) == 3
        assert not any(one.done() for one in rush)
    finally:
        may_end.set()
        await asyncio.gather(*rush)
        server.events.put_nowait({"type": "lifespan.shutdown"})
        await lifespan
