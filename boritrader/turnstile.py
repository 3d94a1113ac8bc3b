"""How many requests a web process answers at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse

PATIENCE: Final = 20.0  # seconds; a visitor who waited longer has gone, or asks again


class Turnstile:
    """Middleware: at most WEB_REQUESTS_AT_ONCE requests of this process are answered at a time, the others wait.

    Under ASGI each request has a thread of its own, and with it a connection: without a bound, a rush of visitors takes
    every connection Postgres has, and sweeps fail. Who waited PATIENCE seconds gets a 503. The connection is given back
    before the answer is sent: one who reads slowly holds none.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response
        self._places = threading.BoundedSemaphore(settings.WEB_REQUESTS_AT_ONCE)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not self._places.acquire(timeout=PATIENCE):
            return HttpResponse(
                "Too many people ask at once. Try again in a moment.\n",
                status=503,
                content_type="text/plain",
                headers={"Retry-After": "5"},
            )
        try:
            return self._get_response(request)
        finally:
            if not connection.in_atomic_block:  # as it is where a test's own transaction goes round the request
                connection.close_if_unusable_or_obsolete()
            self._places.release()
