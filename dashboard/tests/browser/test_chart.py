"""The chart: opening, closing, failing, and as a dialog on a phone."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from accounts.models import User
from dashboard.tests.browser.conftest import PATIENCE_MS, buy_frame, cell, log_in
from dashboard.tests.conftest import PERIOD, close_sweep, give_verdicts, last_slot
from live.groups import group_name
from live.publish import publish
from market.candles import Block
from market.models import Ticker
from market.store import CandleStore
from signals.models import Configuration

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


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
    expect(chart.locator(".chart-message")).to_contain_text("No candles of this ticker yet.")
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
