from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from dashboard.numbers import minute
from dashboard.tests.records import (
    FEW_CALLS,
    GOOD,
    NOON,
    call,
    cell,
    document,
    lately,
    night,
    outcome,
    publish,
    read,
    row,
    seal,
    words,
)
from engine.stats import Tally, summarise
from market.models import Ticker
from signals.models import Configuration, Horizon
from signals.services.evaluation import to_ms
from signals.services.record import Grouping, RecordJson, Side

# --- Who sees it ------------------------------------------------------------------------------------------------------


def test_the_addresses_have_their_names() -> None:
    assert reverse("dashboard:show-record") == "/record/"
    assert reverse("dashboard:show-pair-record", args=["rsi", "BTC/USDT"]) == "/record/rsi/BTC/USDT/"


@pytest.mark.parametrize("address", ["/record/", "/record/rsi/T00USDT/"])
def test_strangers_and_users_see_the_same_record(
    client: Client, bob: User, rsi: Configuration, tickers: list[Ticker], address: str
) -> None:
    publish(document())
    main = re.compile(r"<main.*</main>", re.DOTALL)
    stranger = main.search(client.get(address).content.decode())
    client.force_login(bob)

    user = main.search(client.get(address).content.decode())

    assert stranger is not None
    assert user is not None
    assert user.group() == stranger.group()


@pytest.mark.parametrize("address", ["/record/", "/record/rsi/T00USDT/"])
def test_pages_answer_head_and_take_no_post(
    client: Client, rsi: Configuration, tickers: list[Ticker], address: str
) -> None:
    assert client.head(address).status_code == 200
    assert client.post(address).status_code == 405


@pytest.mark.parametrize("address", ["/record/", "/record/rsi/T00USDT/", "/record/?horizon=7"])
def test_nothing_on_a_page_is_inline(client: Client, rsi: Configuration, tickers: list[Ticker], address: str) -> None:
    publish(document())
    cell(rsi, tickers[0], Horizon.H4, GOOD)
    outcome(call(rsi, tickers[0], lately()), Horizon.H1, 0.01)

    page = client.get(address).content.decode()

    assert all(" src=" in script for script in re.findall(r"<script[^>]*>", page))
    assert not re.findall(r"<[^>]+\s(?:on\w+|style)=", page)
    assert "<style" not in page


def test_everybody_finds_the_record(client: Client, bob: User) -> None:
    for address in ("/accounts/login/", "/record/", "/record/?by=nobody"):
        page = client.get(address).content.decode()
        assert 'class="home" href="/record/"' in page
        assert '<a href="/record/"' in page

    client.force_login(bob)
    page = client.get("/").content.decode()
    assert 'class="home" href="/"' in page
    assert page.count('<a href="/record/"') == 2  # in the header, and in the menu


# --- The record -------------------------------------------------------------------------------------------------------


def test_the_headline_says_what_was_scored_and_what_was_not(client: Client, db: None) -> None:
    record = document()
    publish(record)

    page = read(client, "/record/")

    assert "scored 4 h after it was published" in page
    assert "Calls scored 149 3 unscorable, 2 pending, of 154" in page
    assert "95 % interval" in page
    assert "Buy and hold over the same spans" in page
    assert "Since 11 Oct 2026" in page
    assert "0.10 % fees a side" in page


def test_every_row_is_there_losers_retired_and_few_included(client: Client, db: None) -> None:
    publish(document())

    page = read(client, "/record/")
    good, bad, few = (page.index(f" {name} ") for name in ("RSI", "MACD", "ADX / DMI"))

    assert good < bad < few  # the document's own order
    assert "MACD retired" in page
    assert "\u22121.20 %" in page[bad:few]
    assert re.search(r"ADX / DMI 29 29 too few to say 0", page[few:])
    assert "+50.00" not in page[few : few + 60]


def test_a_row_with_too_little_to_say_sorts_by_nothing_but_its_counts(client: Client, db: None) -> None:
    publish(document([row("adx", FEW_CALLS)]))

    page = client.get("/record/").content.decode()

    assert 'data-apart="29"' in page
    assert "data-mean" not in page
    assert "data-hit" not in page


@pytest.mark.parametrize(("grouping", "says"), [("configuration", True), ("timeframe", False), ("month", False)])
def test_only_what_can_be_retired_is_called_so(client: Client, db: None, grouping: str, says: bool) -> None:
    publish(document([row("7", GOOD, label="RSI", detail="v1", is_running=False)], by=Grouping(grouping)))

    assert ("retired" in read(client, f"/record/?by={grouping}")) is says


def test_each_choice_is_a_record_of_its_own(client: Client, db: None) -> None:
    publish(document([row("T01USDT", GOOD)], horizon=60, side=Side.SELL, by=Grouping.TICKER))

    page = client.get("/record/?horizon=60&side=sell&by=ticker").content.decode()

    assert "T01USDT" in page
    assert 'href="?horizon=1440&amp;side=sell&amp;by=ticker"' in page
    assert page.count('aria-current="true"') == 3
    assert 'href="/record/record.csv?horizon=60&amp;side=sell&amp;by=ticker"' in page


@pytest.mark.parametrize("side", ["all", "sell"])
def test_a_sell_is_the_move_avoided_and_never_a_short(client: Client, db: None, side: str) -> None:
    publish(document(side=Side(side)))

    page = read(client, f"/record/?side={side}")

    assert "A SELL is scored as the move avoided" in page
    assert "SELL: move avoided" in page
    assert not re.search(r"\bshort", page, re.IGNORECASE)


def test_every_number_has_its_formula(client: Client, db: None) -> None:
    publish(document())

    page = client.get("/record/").content.decode()
    columns = re.findall(r'popovertarget="formula-(\w+)"', page)

    assert columns == ["calls", "apart", "hit", "mean", "median", "worst", "hold", "difference", "unscorable"]
    for column in columns:
        assert page.count(f'id="formula-{column}" popover') == 1


def test_plots_have_words_for_those_who_do_not_see_them(client: Client, db: None) -> None:
    publish(document())

    page = client.get("/record/").content.decode()

    for plot in ("cumulative", "distribution", "month"):
        assert f'aria-labelledby="{plot}-title {plot}-desc"' in page
        assert f'<title id="{plot}-title">' in page
        assert f'<desc id="{plot}-desc">' in page
    assert "Not compounded." in page
    assert "End of Calls, net of fees Buy and hold, same spans 20 Nov 2026" in words(page)
    assert "At the end of 20 Nov 2026 the calls sum up to +40.00\u00a0% of one stake" in page


def test_what_it_does_not_prove_is_said(client: Client, db: None) -> None:
    publish(document())

    page = read(client, "/record/")

    for limit in ("move together", "the intervals are too narrow", "no slippage", "Nothing is annualised"):
        assert limit in page


def test_every_table_of_a_simulated_market_is_labelled(
    client: Client, rsi: Configuration, tickers: list[Ticker]
) -> None:
    publish(document())
    night(NOON.date())
    seal(3)
    cell(rsi, tickers[0], Horizon.H4, GOOD)
    outcome(call(rsi, tickers[0], lately()), Horizon.H1, 0.01)

    for address in ("/record/", "/record/rsi/T00USDT/"):
        page = client.get(address).content.decode()
        captions = re.findall(r"<caption[^>]*>(.*?)</caption>", page)
        assert len(captions) == page.count("<table") > 1
        assert all("Simulated market" in caption for caption in captions)


def test_a_real_market_is_not_called_simulated(client: Client, db: None) -> None:
    publish(document(is_simulated=False))

    page = client.get("/record/").content.decode()
    table = page[page.index('<table class="record-table"') : page.index("</table>")]

    assert "imulated" not in table


def nothing_scored() -> RecordJson:
    record = document([])
    record.total = summarise(Tally(pending=7, unscorable=2))
    return record


def test_before_the_first_record_the_page_says_what_will_come(client: Client, db: None) -> None:
    page = read(client, "/record/?horizon=60")

    assert "No call has been scored after 1 h yet" in page
    assert "is pending until its horizon is over. The first outcome is due 1 h after the first call. Outcomes" in page
    assert "No night has been replayed yet" in page
    assert "No day has been sealed yet" in page


def test_before_the_first_outcome_the_page_says_when_it_is_due(
    client: Client, rsi: Configuration, tickers: list[Ticker]
) -> None:
    first = call(rsi, tickers[0], lately(minutes=90))
    call(rsi, tickers[1], lately(minutes=60))

    page = client.get("/record/?side=buy").content.decode()

    entry = lately(minutes=90) + timedelta(minutes=1)
    due = [minute(to_ms(entry + timedelta(minutes=one))) for one in Horizon]
    assert f"The first call here was published on {minute(to_ms(first.published_at))} UTC" in words(page)
    assert f"After 1 h since {due[0]} UTC After 4 h {due[1]} UTC After 24 h {due[2]} UTC" in words(page)
    assert '<a href="?horizon=60&amp;side=buy&amp;by=algorithm">After 1 h</a>' in page
    assert "After 4 h</a>" not in page  # that is where we are


def test_the_first_call_of_a_record_is_one_of_its_own_side(
    client: Client, rsi: Configuration, tickers: list[Ticker]
) -> None:
    call(rsi, tickers[0], lately(minutes=90), signal="SELL")

    assert "No call is public yet" in read(client, "/record/?side=buy")
    assert "The first call here was published" in read(client, "/record/?side=sell")


def test_a_call_that_is_not_public_yet_begins_nothing(
    client: Client, rsi: Configuration, tickers: list[Ticker]
) -> None:
    call(rsi, tickers[0], lately(minutes=5))

    assert "No call is public yet" in read(client, "/record/")


def test_while_all_calls_are_pending_they_are_counted(client: Client, db: None) -> None:
    publish(nothing_scored())

    page = read(client, "/record/")

    assert "Of 9 calls so far 7 are pending and 2 unscorable" in page
    assert "nan" not in page.lower().split()


@pytest.mark.parametrize(
    "query",
    [
        "horizon=61",
        "horizon=",
        "horizon=%00",
        "side=short",
        "side[]=buy&side=",
        "by=user",
        "by=<script>",
        "by=" + "x" * 5000,
    ],
)
def test_a_record_that_is_never_made_is_a_clean_404(client: Client, db: None, query: str) -> None:
    response = client.get(f"/record/?{query}")

    assert response.status_code == 404
    page = response.content.decode()
    assert "one of" in page
    assert "<script>" not in page.replace('<script src="', "")


def test_unknown_parameters_do_no_harm(client: Client, db: None) -> None:
    publish(document())

    page = client.get("/record/?utm_source=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").content.decode()

    assert "alert(1)" not in page


def test_a_label_cannot_break_out_of_the_page(client: Client, db: None) -> None:
    publish(document([row("x", GOOD, label='"><script>alert(1)</script>')]))

    assert "<script>alert(1)" not in client.get("/record/").content.decode()


def test_many_rows_take_no_more_queries_than_few(
    client: Client, db: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    publish(document([row(f"T{number:03}USDT", GOOD) for number in range(300)], by=Grouping.TICKER))
    for back in range(30):
        night(NOON.date() - timedelta(days=back))
    seal(30)

    with django_assert_num_queries(5):  # the record, nights, ledger; algorithms and tickers to choose from
        assert client.get("/record/?by=ticker").status_code == 200


# --- Parity and ledger ------------------------------------------------------------------------------------------------


def test_thirty_days_of_parity_show_what_differed_failed_and_is_missing(client: Client, db: None) -> None:
    for back in range(1, 31):
        day = NOON.date() - timedelta(days=back)
        if back != 9:
            night(day, differing=3 if back == 5 else 0, is_done=back != 7)

    page = client.get("/record/").content.decode()

    assert page.count('<li data-state="same"') == 27
    assert '<li data-state="differs" title="2026-11-15: 3 of 1,440,000 verdicts differ">' in page
    assert '<li data-state="failed" title="2026-11-13:' in page
    assert '<li data-state="none" title="2026-11-11: not replayed">' in page
    assert "3 verdicts differed" in page
    assert "failed: the replay did not end well" in page


def test_no_difference_is_said_in_so_many_words(client: Client, db: None) -> None:
    night(NOON.date())

    assert "0 verdicts differed of 1,440,000 compared in 1 night; 1 without a difference" in read(client, "/record/")


def test_the_ledger_shows_its_newest_digest_and_how_to_check_it(client: Client, db: None) -> None:
    entries = seal(40)

    page = client.get("/record/").content.decode()

    assert f'<code class="digest">{entries[-1].digest}</code>' in page
    assert "curl -o ledger-2026-11-19.json http://testserver/record/ledger.json" in page
    assert (
        f"(echo {entries[-1].previous_digest}; curl -s http://testserver/record/ledger/2026-11-19.txt) | sha256sum"
        in page
    )
    assert "manage.py verify_ledger" in page
    assert "The last 30 days" in page
