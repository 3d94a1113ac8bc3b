from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from live.counters import counters
from signals.services.housekeeping import bootstrap
from watch.services import stores


@pytest.fixture
def product(db: None) -> None:
    """The rows the product needs: algorithms, master bot, schedules."""
    bootstrap(now=datetime.now(UTC))


@pytest.fixture
def looking_relay() -> Iterator[None]:
    """A relay that has just looked into Postgres."""
    before = counters.looked_at
    counters.looked_at = datetime.now(UTC).timestamp()
    yield
    counters.looked_at = before


@pytest.fixture
def emptied_live() -> None:
    """A live store that knows nothing."""
    stores.live().flushdb()


class Reply:
    """What an ASGI application answered."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        start, body = events
        self.status: int = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        self.text: str = body["body"].decode()


async def ask(application: Any, path: str, *, client: str = "127.0.0.1", method: str = "GET", **headers: str) -> Reply:
    """One HTTP request to an ASGI application. Headers by their names, with _ for -."""
    events: list[dict[str, Any]] = []

    async def send(event: dict[str, Any]) -> None:
        events.append(event)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    scope = {
        "type": "http",
        "path": path,
        "method": method,
        "client": (client, 50_000),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    await application(scope, receive, send)
    return Reply(events)
