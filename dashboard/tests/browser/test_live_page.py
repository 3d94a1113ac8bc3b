"""What is published reaches an open page, also after a lost connection and a new choice."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from accounts.models import User
from dashboard.tests.browser.conftest import WebProcess, buy_frame, cell, log_in
from dashboard.tests.conftest import PERIOD, last_slot
from live.groups import group_name
from live.publish import publish
from market.models import Ticker
from market.partitions import ensure_partition
from signals.models import Configuration, SignalResult
from signals.services.results import RESULTS

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


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


def test_a_newcomer_follows_the_default_with_one_click(page: Page, charlie: User, tickers: list[Ticker]) -> None:
    log_in(page, "charlie")
    expect(page.get_by_text("You follow nothing yet")).to_be_visible()

    page.get_by_role("button", name="Follow the default").click()

    expect(page.get_by_text("No signals yet")).to_be_visible()


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
