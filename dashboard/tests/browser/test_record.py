"""The record: sorting, formulas, widths, and the chart of a pair."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from dashboard.tests.records import (
    FEW_CALLS,
    GOOD,
    NOON,
    call,
    cell,
    document,
    night,
    outcome,
    publish,
    row,
    run_centrally,
    seal,
    tally,
)
from market.candles import Block, write_candles
from market.models import Ticker
from signals.models import Configuration, Horizon, Signal
from signals.services.evaluation import to_ms
from signals.services.record import Grouping

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

WIDTHS = (320, 390, 481, 620, 700, 861, 981, 1001, 1200, 1440)


@pytest.fixture
def record() -> None:
    """A record with everything on it."""
    publish(document())
    for back in range(1, 31):
        night(NOON.date() - timedelta(days=back), differing=3 if back == 5 else 0, is_done=back != 7)
    seal(40)


@pytest.fixture
def pair(central: list[Configuration], tickers: list[Ticker]) -> str:
    """The address of RSI on T00USDT, with candles, a scored BUY and an unscorable SELL."""
    rsi, ticker = next(one for one in central if one.algorithm_id == "rsi"), tickers[0]
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    now -= timedelta(minutes=now.minute % 2)
    run_centrally(rsi, since=now - timedelta(days=7))
    steps = np.arange(100, dtype=np.float64)
    opened = to_ms(now) - (100 - steps) * 120_000
    rows = np.column_stack((opened, *(100 + steps + part for part in (0, 2, -2, 1)), steps + 5))
    write_candles([Block(ticker.pk, "2m", rows)], received_at=now)
    outcome(call(rsi, ticker, now - timedelta(minutes=70)), Horizon.H1, 0.0123)
    sell = call(rsi, ticker, now - timedelta(minutes=90), signal=Signal.SELL)
    outcome(sell, Horizon.H1, None, reason="no exit candle")
    cell(rsi, ticker, Horizon.H1, GOOD)
    return "/record/rsi/T00USDT/"


def names(page: Page) -> list[str]:
    return page.locator(".record-table tbody th a, .record-table tbody th:not(:has(a))").all_inner_texts()


def test_every_column_sorts_both_ways_and_rows_with_few_calls_stay_last(page: Page, record: None) -> None:
    page.goto("/record/")
    head = page.locator(".record-table thead th")
    mean = head.filter(has_text="Mean net")
    expect(mean).to_have_attribute("aria-sort", "descending")
    assert names(page) == ["RSI", "MACD", "ADX / DMI"]

    mean.get_by_role("button", name="Mean net", exact=True).click()
    expect(mean).to_have_attribute("aria-sort", "ascending")
    assert names(page) == ["MACD", "RSI", "ADX / DMI"]

    calls = head.filter(has_text="Calls")
    calls.get_by_role("button", name="Calls", exact=True).press("Enter")
    assert mean.get_attribute("aria-sort") is None
    expect(calls).to_have_attribute("aria-sort", "descending")
    assert names(page) == ["RSI", "MACD", "ADX / DMI"]

    head.first.get_by_role("button", name="Algorithm", exact=True).click()
    assert names(page) == ["ADX / DMI", "MACD", "RSI"]


def test_the_keyboard_opens_a_formula_and_closes_it(page: Page, record: None) -> None:
    page.goto("/record/")
    opener = page.get_by_role("button", name="Mean net: how it is made")

    opener.press("Enter")
    formula = page.locator("#formula-mean")
    expect(formula).to_be_visible()
    expect(formula).to_contain_text("SELL: entry ÷ exit")

    page.keyboard.press("Escape")
    expect(formula).to_be_hidden()
    expect(opener).to_be_focused()


def test_every_width_shows_the_whole_record(page: Page, record: None, pair: str, complaints: list[str]) -> None:
    long = "A".join(str(number) for number in range(20))
    wide = tally([-0.98765, 12_345.6], repeated=999)
    publish(document([row(long, wide), row("T", FEW_CALLS)], by=Grouping.TICKER))

    cut_off = []
    for address in ("/record/", "/record/?by=ticker", "/record/?horizon=60", "/record/?by=x", pair):
        page.goto(address)
        for details in page.locator("main details:not([name])").all():
            details.evaluate("(details) => { details.open = true; }")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            if page.evaluate("document.scrollingElement.scrollWidth") > width:
                cut_off.append((address, width))
    assert cut_off == []
    forget_404(complaints)


def forget_404(complaints: list[str]) -> None:
    """What a test asked for on purpose, and the browser itself complains about."""
    complaints[:] = [complaint for complaint in complaints if "status of 404" not in complaint]


def test_without_javascript_the_same_numbers_are_there(page: Page, record: None) -> None:
    page.route("**/bundle/record*.js", lambda route: route.fulfill(content_type="text/javascript", body=""))

    page.goto("/record/")

    assert names(page) == ["RSI", "MACD", "ADX / DMI"]
    expect(page.locator(".plot-canvas")).to_have_count(3)
    expect(page.get_by_role("button", name="Mean net", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Mean net: how it is made").click()
    expect(page.locator("#formula-mean")).to_be_visible()


def test_a_pair_shows_its_candles_and_opens_a_call(page: Page, pair: str) -> None:
    page.goto(pair)

    chart = page.get_by_role("group", name="Chart of RSI on T00USDT")
    expect(chart.locator("canvas").first).to_be_visible()
    expect(chart.locator(".chart-message")).to_be_hidden()
    first, second = page.locator(".call").all()
    first.locator("summary").press("Enter")
    expect(first.get_by_text("Candles digest")).to_be_visible()
    second.locator("summary").click()
    expect(second.get_by_text("unscorable: no exit candle")).to_be_visible()
    expect(first.get_by_text("Candles digest")).to_be_hidden()  # one at a time


def test_a_chart_that_cannot_be_loaded_is_tried_again(page: Page, pair: str, complaints: list[str]) -> None:
    page.route("**/data.json", lambda route: route.fulfill(status=404, json={"error": {"detail": "Not now."}}))
    page.goto(pair)
    chart = page.locator("pair-chart")
    expect(chart).to_contain_text("Not now.")

    page.unroute_all()
    chart.get_by_role("button", name="Try again").click()

    expect(chart.locator("canvas").first).to_be_visible()
    forget_404(complaints)


def test_the_way_from_a_stranger_to_a_call_needs_no_account(phone: Page, record: None, pair: str) -> None:
    phone.goto("/accounts/login/")
    phone.get_by_role("link", name="Record", exact=True).click()
    expect(phone.get_by_role("heading", name="Track record")).to_be_visible()

    phone.get_by_role("link", name="RSI", exact=True).click()

    expect(phone.get_by_role("heading", name="RSI on T00USDT")).to_be_visible()
    expect(phone.locator(".call")).to_have_count(2)
