"""Errors reach a server that speaks Sentry's protocol: a real one, on this machine."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
from django.conf import settings

_FAIL_IN_A_VIEW = """
import django
django.setup()
import sentry_sdk
from django.conf import settings
from django.test import Client
from django.urls import path
from boritrader import urls

def fail(request):
    password = "of nobody"
    raise RuntimeError(f"cannot reach redis://:hunter2@10.0.0.1/0 with {settings.SECRET_KEY}")

urls.urlpatterns.insert(0, path("fail/", fail))
client = Client(raise_request_exception=False, headers={"host": "127.0.0.1", "authorization": "Bearer hunter2"})
client.cookies["sessionid"] = "hunter2"
assert client.post("/fail/?token=hunter2", {"password": "hunter2"}).status_code in (403, 500)
assert client.get("/fail/?token=hunter2").status_code == 500
sentry_sdk.flush(10)
"""
_LOOK = "import sys, django; django.setup(); print('sentry_sdk' in sys.modules)"


class Received(http.server.BaseHTTPRequestHandler):
    bodies: list[str] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Encoding"] == "br"  # Sentry's choice wherever brotli is installed
        self.bodies.append(brotli.decompress(body).decode())
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *arguments: Any) -> None:
        """Not into the output of the tests."""


@pytest.fixture
def sentry() -> Iterator[str]:
    """A DSN, and behind it a server that keeps what it is sent."""
    Received.bodies = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Received) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://publickey1234@127.0.0.1:{server.server_port}/1"
        server.shutdown()


def run(script: str, **variables: str) -> str:
    """In a process of its own: what Sentry patches stays patched."""
    env = {**os.environ, "PYTHONWARNINGS": "ignore", **variables}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=settings.BASE_DIR, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_exception_in_a_view_arrives_and_no_secret_with_it(sentry: str) -> None:
    run(_FAIL_IN_A_VIEW, SENTRY_DSN=sentry, SENTRY_ENVIRONMENT="test")

    sent = "\n".join(Received.bodies)
    events = [json.loads(line) for line in sent.splitlines() if '"exception"' in line]
    [failure] = [event for event in events if event["exception"]["values"][0]["type"] == "RuntimeError"][:1]
    assert failure["environment"] == "test"
    assert failure["release"] == f"boritrader@{settings.VERSION}"
    assert failure["exception"]["values"][0]["value"] == "cannot reach redis://:***@10.0.0.1/0 with ***"
    assert failure["transaction"] == "/fail/"
    for secret in ("hunter2", settings.SECRET_KEY, "of nobody", str(settings.DATABASES["default"]["PASSWORD"])):
        assert secret not in sent


def test_without_an_address_nothing_of_it_is_even_loaded() -> None:
    assert run(_LOOK, SENTRY_DSN="").strip() == "False"
