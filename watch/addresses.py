"""The addresses that programs ask: /livez, /readyz, /readyz/web, /metrics.

In front of Django, hence of its allowed hosts, its redirect to HTTPS, its sessions and its threads: a probe asks by
whatever address it has, and must be answered when everything else is busy or away.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from watch.metrics.exposition import CONTENT_TYPE, Metrics
from watch.services.readiness import Readiness

# As asgiref has it for Django and Channels: what passes through is not ours to type.
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]
Reply = tuple[int, str, bytes]
"""Status, content type, body."""

# What proxies add. A request that has one of these was not made on this machine, whoever seems to have sent it.
FORWARDED = {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}
TEXT, JSON = "text/plain; charset=utf-8", "application/json"
NOT_FOR_YOU = b"With the header Authorization: Bearer <METRICS_TOKEN>; where none is set, from this machine.\n"


class Addresses:
    """An ASGI application that answers these addresses and hands every other request on."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self.readiness = Readiness()
        self.metrics = Metrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/livez":
                await _answer(scope, send, (200, TEXT, b"ok\n"))
            case "/readyz" | "/readyz/" | "/health" | "/health/":  # the last two: of former versions
                await _answer(scope, send, await self._ready(serving_only=False))
            case "/readyz/web":
                await _answer(scope, send, await self._ready(serving_only=True))
            case "/metrics":
                await _answer(scope, send, await self._measure(scope))
            case _:
                await self._application(scope, receive, send)

    async def _ready(self, *, serving_only: bool) -> Reply:
        report = await self.readiness.report()
        status = 503 if report.why_not_ready(serving_only=serving_only) else 200
        return status, JSON, json.dumps(report.as_json(serving_only=serving_only)).encode()

    async def _measure(self, scope: Scope) -> Reply:
        if not may_read_metrics(scope, token=settings.METRICS_TOKEN, is_behind_proxy=settings.IS_HTTPS):
            return 403, TEXT, NOT_FOR_YOU
        return 200, CONTENT_TYPE, await self.metrics.exposition()


def may_read_metrics(scope: Scope, *, token: str, is_behind_proxy: bool) -> bool:
    """Whoever has the token. Where there is none, a program on this machine, if no proxy stands in front of us.

    Behind one every visitor seems to come from the proxy's machine. So where TLS ends in front (HTTPS=1), and for each
    request that carries a proxy's headers, the address counts for nothing. And the request must be for this machine by
    name: else a page of somebody else could have a browser here ask, by a name that it lets point to us.
    """
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if token:
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token.encode())
    if is_behind_proxy or FORWARDED & headers.keys():
        return False
    try:
        asked_for = urlsplit(f"//{headers.get(b'host', b'').decode('latin-1')}").hostname or ""
    except ValueError:
        return False
    return _is_loopback((scope.get("client") or ("", 0))[0]) and (asked_for == "localhost" or _is_loopback(asked_for))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


async def _answer(scope: Scope, send: Send, reply: Reply) -> None:
    status, kind, body = reply
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
