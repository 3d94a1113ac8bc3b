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

    page.locator("input[name=ticker]").press("Escape")
    expect(chart).to_be_hidden()
    assert "ticker=" not in page.url


def test_a_reload_opens_the_same_chart_of_two_of_one_algorithm(
    page: Page, alice: User, own: Configuration, central: list[Configuration], tickers: list[Ticker]
) -> None:
    close_sweep(last_slot())
    give_verdicts([*central, own], tickers[:3])
    log_in(page, "alice")
    assert {one.algorithm_id for one in central} >= {own.algorithm_id}

    cell(page, own, tickers[1]).click()
    chart = page.locator("candle-chart")
    expect(chart.locator("select")).to_have_value(str(own.pk))
    page.reload()

    expect(chart.locator("select")).to_have_value(str(own.pk))
    expect(chart.get_by_role("heading", name=tickers[1].symbol)).to_be_visible()


def test_a_chart_that_cannot_be_loaded_says_so_and_offers_the_way_out(
    page: Page, followed: tuple[Configuration, Ticker], complaints: list[str]
) -> None:
    page.route("**/candle-plot-*.js", lambda route: route.abort())
    log_in(page, "bob")

    with page.expect_event("pageerror", timeout=PATIENCE_MS):
        cell(page, *followed).click()

    assert any("dynamically imported module" in complaint for complaint in complaints)
    complaints.clear()
    message = page.locator(".chart-message")
    expect(message).to_contain_text("The chart could not be loaded. Reload the page.")
    page.unroute_all()
    message.get_by_role("button", name="Reload").click()
    expect(page.locator(".chart-message")).to_contain_text("No candles of this ticker yet.")


def test_many_frames_at_once_are_one_request_and_a_closed_chart_makes_none(
    page: Page, followed: tuple[Configuration, Ticker]
) -> None:
    configuration, ticker = followed
    log_in(page, "bob")
    cell(page, configuration, ticker).click()
    expect(page.locator(".chart-message")).to_contain_text("No candles of this ticker yet.")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/candles/" in request.url else None)
    group = group_name(configuration.algorithm_id, ticker.symbol)

    with page.expect_response("**/api/calls/**"):
        publish([(group, buy_frame(configuration, ticker, last_slot() + number * PERIOD)) for number in range(1, 51)])
    assert len(asked) == 1

    page.keyboard.press("Escape")
    publish([(group, buy_frame(configuration, ticker, last_slot() + 60 * PERIOD))])
    expect(page.locator("call-feed li")).to_have_count(57)
    page.wait_for_timeout(600)  # twice as long as a chart waits
    assert len(asked) == 1


def test_on_a_phone_the_chart_is_a_dialog_that_back_closes(phone: Page, followed: tuple[Configuration, Ticker]) -> None:
    configuration, ticker = followed
    log_in(phone, "bob")
    grid = phone.get_by_role("grid")
    cell(phone, configuration, ticker).click()

    dialog = phone.get_by_role("dialog", name=f"Chart of {ticker.symbol}")
    expect(dialog.get_by_role("button", name="Close the chart")).to_be_focused()
    assert phone.locator("signal-matrix").evaluate("(matrix) => matrix.matches('[inert], [inert] *')")
    for _ in range(8):
        phone.keyboard.press("Tab")
        assert phone.evaluate(
            "document.activeElement === document.body || !!document.activeElement.closest('candle-chart')"
        )

    phone.go_back()
    expect(phone.locator("candle-chart")).to_be_hidden()
    expect(grid).to_be_focused()

    phone.get_by_role("button", name="Latest calls").click()
    phone.locator("call-feed button").first.click()
    expect(phone.get_by_role("dialog")).to_be_visible()
    phone.get_by_role("button", name="Close the chart").click()
    expect(phone.get_by_role("dialog")).to_be_hidden()
    expect(phone.locator("call-feed button").first).to_be_focused()
    assert "ticker=" not in phone.url


def test_another_open_page_shows_a_new_choice_and_hears_its_signals(
    page: Page, followed: tuple[Configuration, Ticker], central: list[Configuration], tickers: list[Ticker]
) -> None:
    log_in(page, "bob")
    other = page.context.new_page()
    other.goto("/following/")
    other.locator(f'input[value="{central[2].pk}"]').check()
    other.locator(f'input[value="{tickers[7].symbol}"]').check()
    other.get_by_role("button", name="Save").click()
    expect(other.get_by_text("Saved.")).to_be_visible()

    new = cell(page, central[2], tickers[7])
    expect(new).to_be_visible()
    frame = buy_frame(central[2], tickers[7], last_slot() + PERIOD)
    publish([(group_name(central[2].algorithm_id, tickers[7].symbol), frame)])
    expect(new).to_have_attribute("data-signal", "BUY")


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
def test_every_width_shows_the_whole_page(page: Page, followed: tuple[Configuration, Ticker], address: str) -> None:
    if address != "/accounts/login/":
        log_in(page, "bob")
    page.goto(address)
    expect(page.locator("main")).to_be_visible()

    cut_off = []
    for width in (320, 390, 700, 861, 920, 981, 1001, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        if page.evaluate("document.scrollingElement.scrollWidth") > width:
            cut_off.append(width)
    assert cut_off == []


def test_the_sentence_that_is_read_out_does_not_follow_the_clock(
    page: Page, web: WebProcess, followed: tuple[Configuration, Ticker]
) -> None:
    log_in(page, "bob")
    web.stop()
    expect(page.locator("page-notice .moving")).to_contain_text("Trying again in")
    moving = page.locator("page-notice .moving").text_content()
    page.evaluate("""() => {
      window.changes = 0;
      const count = (seen) => (window.changes += seen.length);
      const options = { subtree: true, childList: true, characterData: true };
      new MutationObserver(count).observe(document.querySelector("page-notice [role=status]"), options);
    }""")
    expect(page.locator("page-notice .moving")).not_to_have_text(moving or "")

    assert page.evaluate("window.changes") == 0
    web.start()


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
