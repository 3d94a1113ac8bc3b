"""A real Chromium, against the real web process and the real stores."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime

import pytest
from django.conf import settings
from django.db import connection
from playwright.sync_api import Browser, Page, expect, sync_playwright

from accounts.models import User
from dashboard.tests.conftest import PASSWORD, close_sweep, give_verdicts, last_slot
from live.messages import SignalFrame
from market.models import Ticker
from signals.models import Configuration
from signals.services.evaluation import to_ms

PATIENCE_MS = 20_000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class WebProcess:
    """The product's web process on the tests' database, on a port of its own that it keeps when started again."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        database = connection.settings_dict
        where = f"{database['USER']}:{database['PASSWORD']}@{database['HOST']}:{database['PORT']}/{database['NAME']}"
        argv = [sys.executable, "-m", "uvicorn", "boritrader.asgi:application", "--host", "127.0.0.1"]
        self.process = subprocess.Popen(
            [*argv, "--port", str(self.port), "--log-level", "warning"],
            cwd=settings.BASE_DIR,
            env=os.environ | {"DATABASE_URL": f"postgres://{where}", "DJANGO_ALLOW_ASYNC_UNSAFE": ""},
        )
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "the web process ended at its start"
            try:
                urllib.request.urlopen(f"{self.url}/accounts/login/", timeout=5)  # noqa: S310 our own process
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        pytest.fail("the web process does not answer")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_MS / 1000)

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None


@pytest.fixture(autouse=True)
def _quick_passwords() -> None:
    """Not here: the web process is the real one and knows only the product's own hashes."""


@pytest.fixture(scope="package")
def _web_process(django_db_setup: None) -> Iterator[WebProcess]:
    """One for all tests: it starts for seconds, and knows rows by ids, which are never given twice."""
    assert (settings.BASE_DIR / "dashboard/static/bundle/signals.js").exists(), "no bundle: run `make bundle`"
    process = WebProcess()
    process.start()
    yield process
    process.stop()


@pytest.fixture
def web(_web_process: WebProcess, transactional_db: None) -> WebProcess:
    """Running, whatever the last test did to it."""
    if not _web_process.is_running:
        _web_process.start()
    with connection.cursor() as cursor:
        # It looks into the database while the test's rows are cleared away. Should the two block each other, Postgres
        # gives up the one that notices first: not the clearing.
        cursor.execute("SET deadlock_timeout = '1min'")
    return _web_process


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright runs an event loop in this very thread, where Django would refuse the tests' own queries.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        # Without one of the system's, Playwright takes its own, or says how to install it.
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the console complains about. What a test leaves in it fails the test."""
    return []


@pytest.fixture
def page(chromium: Browser, web: WebProcess, complaints: list[str]) -> Iterator[Page]:
    """A desktop window."""
    yield from _window(chromium, web, complaints, 1440, 900)


@pytest.fixture
def phone(chromium: Browser, web: WebProcess, complaints: list[str]) -> Iterator[Page]:
    yield from _window(chromium, web, complaints, 390, 844)


def _window(chromium: Browser, web: WebProcess, complaints: list[str], width: int, height: int) -> Iterator[Page]:
    context = chromium.new_context(base_url=web.url, viewport={"width": width, "height": height})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    yield page
    context.close()
    # A socket that cannot be opened is told by the browser itself; the page deals with it.
    assert [text for text in complaints if "WebSocket connection to" not in text] == []


@pytest.fixture
def followed(bob: User, central: list[Configuration], tickers: list[Ticker]) -> tuple[Configuration, Ticker]:
    """A pair that bob follows, with a first verdict after a closed sweep."""
    close_sweep(last_slot())
    give_verdicts(central[:2], tickers[:3])
    return central[0], tickers[0]


def log_in(page: Page, username: str) -> None:
    page.goto("/")
    page.get_by_label("Name").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("connection-state")).to_have_attribute("data-status", "live")


def cell(page: Page, configuration: Configuration, ticker: Ticker):  # type: ignore[no-untyped-def]
    return page.locator(f'[data-ticker="{ticker.symbol}"] [data-configuration="{configuration.pk}"]')


def buy_frame(configuration: Configuration, ticker: Ticker, closed_at: datetime) -> SignalFrame:
    return {
        "type": "signal",
        "v": 1,
        "feed": "central",
        "configuration": configuration.pk,
        "algorithm": configuration.algorithm_id,
        "ticker": ticker.symbol,
        "timeframe": configuration.timeframe,
        "closed_at": to_ms(closed_at),
        "slot": to_ms(closed_at),
        "signal": "BUY",
        "is_call": True,
        "value": 29.4,
        "price": 101.25,
        "reason": "",
    }
