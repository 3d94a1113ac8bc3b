"""Filters, theme, widths and contrast."""

from __future__ import annotations

from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from accounts.models import User
from dashboard.tests.browser.conftest import cell, log_in
from dashboard.tests.conftest import close_sweep, give_verdicts, last_slot
from market.models import Ticker
from signals.models import Configuration
from signals.services.following import central_configurations

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_filters_leave_what_was_asked_for(page: Page, followed: tuple[Configuration, Ticker]) -> None:
    log_in(page, "bob")
    expect(page.locator(".matrix-row")).to_have_count(3)

    page.keyboard.press("/")
    page.keyboard.type("t01")
    expect(page.locator(".matrix-row")).to_have_count(1)
    page.locator("select[name=signal]").select_option("SELL")

    expect(page.get_by_text("No ticker matches these filters.")).to_be_visible()


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


def test_all_columns_of_premium_fit_a_desktop_and_blanks_are_explained(
    page: Page, alice: User, own: Configuration, tickers: list[Ticker]
) -> None:
    preference = alice.algorithm_preferences.get(configuration=own)
    preference.all_tickers = False
    preference.save()
    preference.tickers.set(tickers[:2])
    close_sweep(last_slot())
    give_verdicts(central_configurations(), tickers)
    log_in(page, "alice")
    expect(page.locator(".matrix-head .matrix-algorithm")).to_have_count(13)

    grid = page.locator(".matrix-grid")
    assert grid.evaluate("grid => grid.scrollWidth - grid.clientWidth") == 0
    one_line = page.locator("select[name=sort]").bounding_box()
    key = page.locator(".key").bounding_box()
    assert one_line is not None
    assert key is not None
    assert one_line["y"] < key["y"] + key["height"] / 2 < one_line["y"] + one_line["height"]

    expect(page.locator(".matrix-head").get_by_text("2 tickers")).to_be_visible()
    expect(page.locator(".key").get_by_text("not run")).to_be_visible()
    expect(cell(page, own, tickers[5])).to_have_text("·")
    expect(cell(page, own, tickers[5])).to_have_attribute("aria-label", "RSI: not run on this ticker")
    waits = "RSI: no verdict yet, the first one comes when a 5m candle closes"
    expect(cell(page, own, tickers[0])).to_have_attribute("aria-label", waits)


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
