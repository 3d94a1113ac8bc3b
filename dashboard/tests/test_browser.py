"""The pages in a real Chromium, against the real web process and the real stores."""

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
from typing import Literal

import numpy as np
import pytest
from django.conf import settings
from django.db import connection
from playwright.sync_api import Browser, Page, expect, sync_playwright

from accounts.models import User
from dashboard.tests.conftest import PASSWORD, PERIOD, close_sweep, give_verdicts, last_slot
from live.groups import group_name
from live.messages import SignalFrame
from live.publish import publish
from market.candles import Block
from market.models import Ticker
from market.partitions import ensure_partition
from market.store import CandleStore
from signals.models import Configuration, SignalResult
from signals.services.evaluation import to_ms
from signals.services.results import RESULTS

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

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


@pytest.fixture(autouse=True)
def _quick_passwords() -> None:
    """Not here: the web process is the real one and knows only the product's own hashes."""


@pytest.fixture
def web() -> Iterator[WebProcess]:
    assert (settings.BASE_DIR / "dashboard/static/bundle/signals.js").exists(), "no bundle: run `make bundle`"
    process = WebProcess()
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="module")
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
def page(chromium: Browser, web: WebProcess) -> Iterator[Page]:
    """A desktop window. Whatever the console complains about fails the test."""
    yield from _window(chromium, web, 1440, 900)


@pytest.fixture
def phone(chromium: Browser, web: WebProcess) -> Iterator[Page]:
    yield from _window(chromium, web, 390, 844)


def _window(chromium: Browser, web: WebProcess, width: int, height: int) -> Iterator[Page]:
    context = chromium.new_context(base_url=web.url, viewport={"width": width, "height": height})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    complaints: list[str] = []
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


def test_a_cell_changes_the_moment_its_signal_is_published(page: Page, followed: tuple[Configuration, Ticker]) -> None:
    configuration, ticker = followed
    log_in(page, "bob")
    expect(cell(page, configuration, ticker)).to_have_attribute("data-signal", "DO NOTHING")
    calls = page.locator("call-feed li").count()

    frame = buy_frame(configuration, ticker, last_slot() + PERIOD)
    publish([(group_name(configuration.algorithm_id, ticker.symbol), frame)] * 2)

    expect(cell(page, configuration, ticker)).to_have_attribute("data-signal", "BUY")
    expect(cell(page, configuration, ticker)).to_contain_text("BUY")
    expect(page.locator("call-feed li")).to_have_count(calls + 1)
    expect(page.locator("call-feed li").first).to_contain_text("101.25")


def test_what_happened_while_the_connection_was_lost_is_there_afterwards(
    page: Page, web: WebProcess, followed: tuple[Configuration, Ticker]
) -> None:
    configuration, ticker = followed
    log_in(page, "bob")

    web.stop()
    expect(page.locator("connection-state")).not_to_have_attribute("data-status", "live")
    expect(page.locator("page-notice")).to_be_visible()
    ensure_partition(RESULTS, last_slot() + PERIOD)
    SignalResult.objects.create(
        configuration=configuration,
        ticker=ticker,
        candle_closed_at=last_slot() + PERIOD,
        slot=last_slot(),
        signal="SELL",
        price=98.5,
        candles_digest=b"0" * 16,
    )
    web.start()

    expect(page.locator("connection-state")).to_have_attribute("data-status", "live")
    expect(cell(page, configuration, ticker)).to_have_attribute("data-signal", "SELL")


def test_the_keyboard_opens_and_closes_the_chart(page: Page, followed: tuple[Configuration, Ticker]) -> None:
    configuration, ticker = followed
    steps = np.arange(50, dtype=np.float64)
    first = last_slot().timestamp() * 1000 - 50 * 120_000
    rows = np.column_stack((first + steps * 120_000, *(100 + steps + part for part in (0, 2, -2, 1)), steps + 5))
    CandleStore().replace([Block(ticker.pk, "2m", rows)])
    log_in(page, "bob")

    grid = page.get_by_role("grid")
    grid.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")

    chart = page.locator("candle-chart")
    expect(chart.get_by_role("heading", name=ticker.symbol)).to_be_visible()
    expect(chart.locator(".chart-price")).to_have_text("150.00")
    expect(chart.locator("canvas").first).to_be_visible()
    expect(chart).to_contain_text(configuration.algorithm.description[:60])
    assert f"ticker={ticker.symbol}" in page.url

    chart.get_by_role("button", name="Close the chart").press("Escape")
    expect(chart).to_be_hidden()


def test_filters_leave_what_was_asked_for(page: Page, followed: tuple[Configuration, Ticker]) -> None:
    log_in(page, "bob")
    expect(page.locator(".matrix-row")).to_have_count(3)

    page.keyboard.press("/")
    page.keyboard.type("t01")
    expect(page.locator(".matrix-row")).to_have_count(1)
    page.locator("select[name=signal]").select_option("SELL")

    expect(page.get_by_text("No ticker matches these filters.")).to_be_visible()


def test_a_newcomer_follows_the_default_with_one_click(page: Page, charlie: User, tickers: list[Ticker]) -> None:
    log_in(page, "charlie")
    expect(page.get_by_text("You follow nothing yet")).to_be_visible()

    page.get_by_role("button", name="Follow the default").click()

    expect(page.get_by_text("No signals yet")).to_be_visible()


def test_the_theme_is_switched_and_remembered(page: Page, followed: tuple[Configuration, Ticker]) -> None:
    log_in(page, "bob")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")

    page.get_by_role("button", name="Switch between dark and light").click()
    page.reload()

    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


@pytest.mark.parametrize("address", ["/", "/following/", "/accounts/login/"])
def test_a_phone_shows_the_whole_width(phone: Page, followed: tuple[Configuration, Ticker], address: str) -> None:
    if address != "/accounts/login/":
        log_in(phone, "bob")
    phone.goto(address)
    expect(phone.locator("main")).to_be_visible()

    assert phone.evaluate("document.scrollingElement.scrollWidth") <= 390


# WCAG 2.2, 1.4.3: relative luminance and contrast ratio, of colours as the browser resolves them.
CONTRAST = """([text, ground]) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const light = (token) => {
    const probe = document.createElement("span");
    probe.style.color = `var(${token})`;
    document.body.append(probe);
    canvas.fillStyle = getComputedStyle(probe).color;
    probe.remove();
    canvas.fillRect(0, 0, 1, 1);
    const parts = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => part / 255);
    const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [dark, bright] = [light(text), light(ground)].sort((one, other) => one - other);
  return (bright + 0.05) / (dark + 0.05);
}"""
GROUNDS = ["--page", "--surface", "--raised", "--hover"]
PAIRS = [
    *((text, ground) for text in ("--text", "--text-muted", "--text-faint") for ground in GROUNDS),
    *((text, "--surface") for text in ("--buy", "--sell", "--accent", "--warning", "--error")),
    ("--buy", "--buy-fill"),
    ("--sell", "--sell-fill"),
    ("--warning", "--warning-fill"),
    ("--error", "--error-fill"),
    ("--on-accent", "--accent-strong"),
]


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_text_is_readable_on_every_ground(page: Page, theme: Literal["dark", "light"]) -> None:
    page.emulate_media(color_scheme=theme)
    page.goto("/accounts/login/")

    weak = {pair: ratio for pair in PAIRS if (ratio := page.evaluate(CONTRAST, list(pair))) < 4.5}

    assert weak == {}
