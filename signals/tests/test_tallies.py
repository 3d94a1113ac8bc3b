"""The public record against a second computation: plain Python and scipy, call by call, over the same rows."""

from __future__ import annotations

import itertools
import math
import random
import statistics
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.db.models import QuerySet
from pytest_django import Settings
from scipy.stats import binomtest

from accounts.models import User
from engine.stats import Summary
from market.models import Ticker
from signals.models import (
    AlgorithmPreferences,
    Call,
    CentralSpan,
    Configuration,
    Horizon,
    Outcome,
    Record,
    RecordCell,
    RecordDay,
    Signal,
)
from signals.services.configurations import configuration_for
from signals.services.documents import build_documents
from signals.services.record import Grouping, Side, public_calls
from signals.services.tallies import rebuild_months
from signals.tests.conftest import NOON, make_ticker

DELAY = timedelta(minutes=15)  # settings.PUBLIC_DELAY
FEE = 0.001
FIRST = datetime(2026, 10, 30, tzinfo=UTC)
NOW = datetime(2026, 12, 2, 12, 0, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
LEFT = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
BACK = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)

EVERY_PAGE = [(horizon, side, by) for horizon in Horizon.values for side in Side for by in Grouping]


# --- Rows -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def rsi(product: None) -> Configuration:
    """In the central feed, on 2m."""
    return central("rsi", "2m", (FIRST, None))


@pytest.fixture
def btc(product: None) -> Ticker:
    return make_ticker("BTCUSDT")


def central(
    algorithm: str, timeframe: str, *spans: tuple[datetime, datetime | None], **parameters: Any
) -> Configuration:
    """A configuration that the central feed ran in these spans: none, and it is a premium user's own."""
    made = configuration_for(algorithm_id=algorithm, timeframe=timeframe, parameters=parameters, now=NOON)
    for since, until in spans:
        CentralSpan.objects.create(configuration=made, since=since, until=until)
    return made


def make_call(*what: Any, **more: Any) -> Call:
    call = new_call(*what, **more)
    call.save()
    return call


def make_outcome(*what: Any, **more: Any) -> Outcome:
    outcome = new_outcome(*what, **more)
    outcome.save()
    return outcome


def new_call(
    configuration: Configuration,
    ticker: Ticker,
    closed_at: datetime,
    signal: Signal = Signal.BUY,
    slot: datetime | None = None,
    published_at: datetime | None = None,
) -> Call:
    return Call(
        configuration=configuration,
        ticker=ticker,
        candle_closed_at=closed_at,
        slot=slot or closed_at,
        signal=signal,
        previous_signal=Signal.DO_NOTHING,
        price=100.0,
        candles_digest=bytes(16),
        algorithm_version=1,
        published_at=published_at or (slot or closed_at) + timedelta(seconds=3),
    )


def new_outcome(call: Call, horizon: int, entry: float = 100.0, exit_: float | None = 101.0) -> Outcome:
    """What became of a call whose minute opened at one price and, `horizon` later, closed at another (None: never)."""
    entry_at = call.published_at.replace(second=0, microsecond=0) + timedelta(minutes=1)
    row = Outcome(
        call=call,
        horizon=horizon,
        entry_at=entry_at,
        exit_at=entry_at + timedelta(minutes=horizon),
        entry_price=entry,
        exit_price=exit_,
        fee_rate=FEE,
        status="scored",
        scored_at=NOW,
    )
    if exit_ is None:
        row.status, row.reason = "unscorable", "there is no 1m candle at the exit"
    else:
        growth = exit_ / entry if call.signal == Signal.BUY else entry / exit_
        row.net_return = growth * (1 - FEE) * (1 - FEE) - 1
        row.hold_return = exit_ / entry * (1 - FEE) * (1 - FEE) - 1
    return row


def score_what_is_due(at: datetime, seed: int) -> None:
    """Outcomes for all calls whose horizon has passed: one in twelve is unscorable, a few moved by more than a double."""
    draw = random.Random(seed)
    made = []
    for call in Call.objects.order_by("pk").prefetch_related("outcomes"):
        known = {one.horizon for one in call.outcomes.all()}
        for horizon in Horizon.values:
            if horizon in known or call.published_at + timedelta(minutes=horizon + 1) > at:
                continue
            exit_ = 50.0 * math.exp(draw.gauss(0.0, 0.01) + (draw.random() < 0.02) * draw.choice((-1.2, 1.2)))
            made.append(new_outcome(call, horizon, 50.0, None if draw.random() < 1 / 12 else exit_))
    Outcome.objects.bulk_create(made)


def scatter(configuration: Configuration, ticker: Ticker, seed: int, until: datetime = NOW) -> None:
    """BUYs and SELLs at candles' closes, from minutes to days apart: many of their spans overlap."""
    draw = random.Random(seed)
    minutes = int(configuration.timeframe.removesuffix("m"))
    at = FIRST + timedelta(hours=draw.randrange(30))
    made = []
    while at < until:
        made.append(new_call(configuration, ticker, at, draw.choice((Signal.BUY, Signal.SELL))))
        at += timedelta(minutes=minutes * (1 + int(draw.expovariate(1 / 600) / minutes)))
    Call.objects.bulk_create(made)


@pytest.fixture
def market(product: None, alice: User) -> None:
    """Three months of calls: all that can happen to a configuration and to a ticker, happens."""
    running = [
        central("rsi", "2m", (FIRST, None)),
        central("rsi", "5m", (FIRST, None)),
        central("macd", "5m", (FIRST, None)),
    ]
    gone = central("adx", "2m", (FIRST, LEFT))
    came_back = central("donchian", "2m", (FIRST, LEFT), (BACK, None))
    own = central("rsi", "2m", period=9)
    AlgorithmPreferences.objects.create(user=alice, configuration=own, all_tickers=True)
    tickers = [make_ticker(symbol) for symbol in ("BTCUSDT", "ETHUSDT", "LUNAUSDT")]
    elsewhere = Ticker.objects.create(
        exchange="binance", symbol="BTCUSDT", base_asset="BTC", quote_asset="USDT", tick_size="0.01", step_size="0.0001",
        min_notional="5", is_followed=True, discovered_at=NOON,
    )  # fmt: skip
    for number, configuration in enumerate((*running, gone, came_back, own)):
        for place, ticker in enumerate((*tickers, elsewhere)):
            is_dying = ticker.symbol == "LUNAUSDT"
            scatter(configuration, ticker, 10 * number + place, until=LEFT if is_dying else NOW)
    Ticker.objects.filter(symbol="LUNAUSDT").update(status=Ticker.Status.DELISTED, is_followed=False, delisted_at=LEFT)
    score_what_is_due(NOW, seed=1)


def build(at: datetime, *, everything: bool = False) -> list[date]:
    months = rebuild_months(at=at, everything=everything)
    build_documents(at=at)
    return months


def document(horizon: int, side: str = "all", by: str = "algorithm") -> dict[str, Any]:
    found: dict[str, Any] = Record.objects.get(horizon=horizon, side=side, grouping=by).document
    return found


# --- The second computation -------------------------------------------------------------------------------------------


@dataclass
class Known:
    """A public call and what became of it at one horizon; `net` is None where it has no return."""

    call: Call
    outcome: Outcome | None
    is_apart: bool = False

    @property
    def net(self) -> float | None:
        return self.outcome.net_return if self.outcome else None

    @property
    def hold(self) -> float:
        assert self.outcome is not None
        assert self.outcome.hold_return is not None
        return self.outcome.hold_return


def public(horizon: int, at: datetime) -> list[Known]:
    """The calls of the central feed as old as strangers see them, those of a pair that do not overlap marked."""
    found = []
    spans_of: dict[int, list[CentralSpan]] = {}
    for span in CentralSpan.objects.all():
        spans_of.setdefault(span.configuration_id, []).append(span)
    for call in Call.objects.select_related("configuration__algorithm", "ticker").prefetch_related("outcomes"):
        spans = spans_of.get(call.configuration_id, [])
        was_run = any(span.since <= call.slot and (not span.until or call.slot < span.until) for span in spans)
        if was_run and call.ticker.exchange == "simulated" and at - call.candle_closed_at >= DELAY:
            outcome = next((one for one in call.outcomes.all() if one.horizon == horizon), None)
            found.append(Known(call, outcome))
    ends: dict[tuple[int, int], datetime] = {}
    scored = [(known, known.outcome) for known in found if known.outcome and known.outcome.status == "scored"]
    for known, outcome in sorted(scored, key=lambda pair: (pair[1].entry_at, pair[0].call.pk)):
        pair = known.call.configuration_id, known.call.ticker_id
        if pair not in ends or outcome.entry_at >= ends[pair]:
            known.is_apart, ends[pair] = True, outcome.exit_at
    return found


def measures(calls: Iterable[Known]) -> dict[str, Any]:
    """All that a row says of these calls, one after another."""
    known = list(calls)
    scored = [one for one in known if one.net is not None]
    net, hold = [one.net for one in scored if one.net is not None], [one.hold for one in scored]
    apart = [one.net > 0 for one in scored if one.is_apart and one.net is not None]
    interval = binomtest(sum(apart), len(apart)).proportion_ci(0.95, "wilson") if apart else None
    is_few = len(apart) < 30
    return {
        "calls": len(known),
        "scored": len(scored),
        "unscorable": sum(one.outcome is not None and one.outcome.status == "unscorable" for one in known),
        "pending": sum(one.outcome is None for one in known),
        "apart": len(apart),
        "is_few": is_few,
        "hit_rate": statistics.fmean(apart) if apart else None,
        "hit_low": interval.low if interval else None,
        "hit_high": interval.high if interval else None,
        "mean": statistics.fmean(net) if net else None,
        # The last bins hold all that lies beyond.
        "median": statistics.median([min(one, 1.00005) for one in net]) if net else None,
        "worst": min(net, default=None),
        "best": max(net, default=None),
        "hold_mean": statistics.fmean(hold) if net else None,
        "net_sum": math.fsum(net),
        "log_sum": math.fsum(math.log(1 + one) for one in net),
        "strength": None if is_few else statistics.fmean(net) / statistics.stdev(net),
        "confidence_score": None if is_few or interval is None else interval.low,
    }


KEYS: dict[Grouping, Callable[[Call], str]] = {
    Grouping.ALGORITHM: lambda call: call.configuration.algorithm_id,
    Grouping.CONFIGURATION: lambda call: str(call.configuration_id),
    Grouping.TICKER: lambda call: call.ticker.symbol,
    Grouping.TIMEFRAME: lambda call: call.configuration.timeframe,
    Grouping.MONTH: lambda call: call.candle_closed_at.strftime("%Y-%m"),
}


def grouped(calls: Iterable[Known], key_of: Callable[[Call], str]) -> dict[str, list[Known]]:
    groups: dict[str, list[Known]] = {}
    for one in calls:
        groups.setdefault(key_of(one.call), []).append(one)
    return groups


def assert_says(summary: dict[str, Any], calls: Iterable[Known], where: object) -> None:
    expected = measures(calls)
    assert set(summary) == set(expected) == {field.name for field in fields(Summary)}
    for name, value in expected.items():
        tolerance = 1e-4 if name == "median" else 1e-11
        wanted = pytest.approx(value, rel=1e-9, abs=tolerance) if isinstance(value, float) else value
        assert summary[name] == wanted, (where, name)


def assert_rows_say(rows: list[dict[str, Any]], calls: list[Known], by: Grouping, where: object) -> None:
    groups = grouped(calls, KEYS[by])
    assert sorted(row["key"] for row in rows) == sorted(groups), where
    for row in rows:
        assert_says(row["summary"], groups[row["key"]], (where, row["key"]))
        assert row["total_net"] == row["summary"]["net_sum"]


def assert_published_is(at: datetime) -> None:
    """Every number of every page is that of the second computation."""
    assert Record.objects.count() == len(EVERY_PAGE) == 45
    for horizon in Horizon.values:
        known = public(horizon, at)
        for side in Side:
            calls = [one for one in known if side == "all" or one.call.signal == side.upper()]
            for by in Grouping:
                page, where = document(horizon, side, by), (horizon, side, by)
                assert (page["horizon"], page["side"], page["by"]) == where
                assert_rows_say(page["rows"], calls, by, where)
                assert_rows_say(page["months"], calls, Grouping.MONTH, where)
                assert_says(page["total"], calls, where)
                assert page["cumulative"] == running_sums(calls), where
                assert page["distribution"]["counts"] == bars(calls, page["distribution"]["edges"]), where


def running_sums(calls: Iterable[Known]) -> list[dict[str, Any]]:
    """What equal stakes on each call had given by the end of each day, and buy and hold over the same spans."""
    scored = [one for one in calls if one.net is not None]
    line = []
    for day in sorted({one.call.candle_closed_at.date() for one in scored}):
        upto = [one for one in scored if one.call.candle_closed_at.date() <= day]
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000
        net, hold = sum(one.net or 0.0 for one in upto), sum(one.hold for one in upto)
        line.append({"day": midnight, "net": pytest.approx(net, abs=1e-9), "hold": pytest.approx(hold, abs=1e-9)})
    return line


def bars(calls: Iterable[Known], edges: list[int]) -> list[int]:
    bounds = [-math.inf, *(edge / 10_000 for edge in edges), math.inf]
    net = [one.net for one in calls if one.net is not None]
    return [sum(low <= one < high for one in net) for low, high in itertools.pairwise(bounds)]


def stored() -> list[list[dict[str, Any]]]:
    """All that a rebuild makes, without the numbers of the rows and the instant they were made."""
    kept: list[QuerySet[Any, Any]] = [
        RecordCell.objects.order_by("configuration", "ticker", "month", "horizon", "signal").values(),
        RecordDay.objects.order_by("configuration", "day", "horizon", "signal").values(),
        Record.objects.order_by("horizon", "side", "grouping").values(),
    ]
    return [[{name: row[name] for name in row if name not in {"id", "built_at"}} for row in rows] for rows in kept]


def months_of(horizon: int) -> dict[str, dict[str, Any]]:
    return {row["key"]: row["summary"] for row in document(horizon)["months"]}


# --- Every number -----------------------------------------------------------------------------------------------------


def test_every_published_number_is_that_of_a_second_computation(market: None) -> None:
    build(NOW)

    assert settings.PUBLIC_DELAY == DELAY
    assert_published_is(NOW)
    page = document(60)
    assert page["total"]["calls"] > 500  # all cases are there
    assert page["total"]["unscorable"] > 0
    assert document(1440)["total"]["pending"] > 0
    assert 30 <= document(1440)["total"]["apart"] < document(1440)["total"]["scored"]
    assert any(not row["summary"]["is_few"] for row in page["rows"])
    assert [row["key"] for row in page["months"]] == ["2026-10", "2026-11", "2026-12"]


def test_counts_of_a_page_add_up(market: None) -> None:
    build(NOW)

    for key in EVERY_PAGE:
        page = document(*key)
        total = page["total"]
        assert total["calls"] == total["scored"] + total["unscorable"] + total["pending"]
        assert sum(page["distribution"]["counts"]) == total["scored"]
        assert page["cumulative"][-1]["net"] == pytest.approx(total["net_sum"], abs=1e-9)
        for name in ("calls", "scored", "unscorable", "pending", "apart"):
            assert sum(row["summary"][name] for row in page["rows"]) == total[name], (key, name)
            assert sum(row["summary"][name] for row in page["months"]) == total[name], (key, name)
    for horizon in Horizon.values:
        for name in ("calls", "scored", "apart", "net_sum", "log_sum"):
            both = [document(horizon, side)["total"][name] for side in ("buy", "sell")]
            assert document(horizon)["total"][name] == pytest.approx(sum(both), abs=1e-9), (horizon, name)


def test_rows_come_with_the_best_mean_first_and_those_with_too_little_to_say_last(market: None) -> None:
    build(NOW)

    for horizon, side, by in EVERY_PAGE:
        rows = document(horizon, side, by)["rows"]
        if by is Grouping.MONTH:
            assert [row["key"] for row in rows] == sorted(row["key"] for row in rows)
        else:
            merits = [(row["summary"]["is_few"], -row["summary"]["mean"]) for row in rows]
            assert merits == sorted(merits)


def test_making_it_again_changes_nothing(market: None) -> None:
    build(NOW)
    before = stored()

    first_months = build(NOW)
    assert stored() == before
    all_months = build(NOW, everything=True)

    assert stored() == before
    assert first_months == [date(2026, 11, 1), date(2026, 12, 1)]  # in November a late call may still be published
    assert all_months == [date(2026, 10, 1), date(2026, 11, 1), date(2026, 12, 1)]


def test_new_outcomes_are_in_the_next_record(market: None) -> None:
    build(NOW)
    pending = document(1440)["total"]["pending"]
    later = NOW + timedelta(days=2)
    score_what_is_due(later, seed=2)

    build(later)

    assert pending > 0
    assert document(1440)["total"]["pending"] == 0
    assert_published_is(later)


def test_before_the_first_call_is_public_the_pages_are_empty(product: None) -> None:
    assert build(NOW) == []

    assert_published_is(NOW)
    page = document(60)
    assert (page["rows"], page["months"], page["cumulative"], page["since"]) == ([], [], [], None)


# --- Spans ------------------------------------------------------------------------------------------------------------


def test_a_span_that_crosses_the_first_of_a_month_holds_up_the_calls_after_it(rsi: Configuration, btc: Ticker) -> None:
    evening = DECEMBER - timedelta(minutes=30)
    inside, touching = DECEMBER + timedelta(hours=10), evening + timedelta(hours=24)
    for closed_at, signal in ((evening, Signal.BUY), (inside, Signal.SELL), (touching, Signal.BUY)):
        call = make_call(rsi, btc, closed_at, signal)
        for horizon in Horizon.values:
            make_outcome(call, horizon)

    at_once = build(DECEMBER + timedelta(days=3))
    months, cells = months_of(1440), stored()
    december_only = build(DECEMBER + timedelta(days=10))

    assert at_once == [date(2026, 11, 1), date(2026, 12, 1)]
    assert december_only == [date(2026, 12, 1)]
    assert [(months[key]["scored"], months[key]["apart"]) for key in ("2026-11", "2026-12")] == [(1, 1), (2, 1)]
    assert document(1440, "sell")["total"]["apart"] == 0
    assert stored()[:2] == cells[:2]  # the older month still holds it up
    assert_published_is(DECEMBER + timedelta(days=10))


def test_spans_of_other_pairs_hold_up_nobody(rsi: Configuration, btc: Ticker) -> None:
    other = central("macd", "2m", (FIRST, None))
    for configuration, ticker in ((rsi, btc), (other, btc), (rsi, make_ticker("ETHUSDT"))):
        make_outcome(make_call(configuration, ticker, DECEMBER), 60)

    build(NOW)

    assert document(60)["total"]["apart"] == 3


# --- What is in it, and what is not -----------------------------------------------------------------------------------


def test_what_is_unscorable_or_pending_is_counted(rsi: Configuration, btc: Ticker) -> None:
    gap, _young = make_call(rsi, btc, DECEMBER), make_call(rsi, btc, DECEMBER + timedelta(hours=1), Signal.SELL)
    make_outcome(gap, 60, exit_=None)

    build(NOW)

    total = document(60)["total"]
    assert (total["calls"], total["scored"], total["unscorable"], total["pending"]) == (2, 0, 1, 1)
    assert (total["hit_rate"], total["mean"], total["median"], total["strength"]) == (None, None, None, None)
    assert_published_is(NOW)


def test_a_delisted_ticker_stays_in(rsi: Configuration, btc: Ticker) -> None:
    make_outcome(make_call(rsi, btc, DECEMBER), 60, exit_=1.0)
    Ticker.objects.filter(pk=btc.pk).update(status=Ticker.Status.DELISTED, is_followed=False, delisted_at=DECEMBER)

    build(NOW)

    (row,) = document(60, by="ticker")["rows"]
    assert (row["key"], row["is_running"], row["summary"]["scored"]) == ("BTCUSDT", False, 1)
    assert document(60)["total"]["worst"] == pytest.approx(-0.99, abs=1e-3)


def test_what_has_left_the_feed_stays_in_and_what_it_called_later_does_not_count(btc: Ticker) -> None:
    gone = central("macd", "2m", (FIRST, LEFT))
    for closed_at in (FIRST - timedelta(minutes=2), FIRST, LEFT - timedelta(minutes=2), LEFT):
        make_outcome(make_call(gone, btc, closed_at), 60)

    build(NOW)

    for by in ("algorithm", "configuration"):
        (row,) = document(60, by=by)["rows"]
        assert (row["is_running"], row["summary"]["calls"]) == (False, 2)
    assert_published_is(NOW)


def test_what_left_the_feed_and_came_back_counts_in_both_spans_once_each(btc: Ticker) -> None:
    back = central("macd", "2m", (FIRST, LEFT), (BACK, None))
    for closed_at in (FIRST, LEFT - timedelta(minutes=2), LEFT, BACK - timedelta(minutes=2), BACK):
        make_outcome(make_call(back, btc, closed_at), 60)

    build(NOW)

    (row,) = document(60, by="configuration")["rows"]
    assert (row["is_running"], row["summary"]["calls"]) == (True, 3)


def test_a_premium_users_own_configuration_never_appears(rsi: Configuration, btc: Ticker, alice: User) -> None:
    own = central("macd", "2m", fast=10)
    AlgorithmPreferences.objects.create(user=alice, configuration=own, all_tickers=True)
    for configuration in (own, rsi):
        make_outcome(make_call(configuration, btc, DECEMBER), 60)

    build(NOW)

    assert [row["key"] for row in document(60)["rows"]] == ["rsi"]
    assert document(60)["total"]["calls"] == 1
    assert not RecordCell.objects.filter(configuration=own).exists()
    assert not RecordDay.objects.filter(configuration=own).exists()


def test_calls_of_another_exchanges_ticker_do_not_appear(rsi: Configuration, btc: Ticker) -> None:
    Ticker.objects.filter(pk=btc.pk).update(exchange="binance")
    for ticker in (btc, make_ticker("BTCUSDT")):
        make_outcome(make_call(rsi, ticker, DECEMBER), 60)

    build(NOW)

    assert document(60)["total"]["calls"] == 1
    assert [day["net"] for day in document(60)["cumulative"]] == [document(60)["total"]["net_sum"]]
    assert_published_is(NOW)


def test_an_installation_that_moves_to_another_exchange_begins_a_record_of_its_own(
    rsi: Configuration, btc: Ticker, settings: Settings
) -> None:
    """Not one number of a simulated market may be left in a record that is not labelled so."""
    make_outcome(make_call(rsi, btc, FIRST), 60, exit_=150.0)  # a month that nothing changes any more
    build(NOW)
    settings.EXCHANGE = "binance"
    real = make_ticker("ETHUSDT")
    Ticker.objects.filter(pk=real.pk).update(exchange="binance")
    make_outcome(make_call(rsi, real, DECEMBER), 60, exit_=99.0)

    build(NOW)

    page = document(60)
    assert page["total"]["calls"] == 1
    assert [(day["net"], day["hold"]) for day in page["cumulative"]] == [(page["total"]["net_sum"],) * 2]


def test_calls_that_strangers_do_not_see_yet_do_not_appear(rsi: Configuration, btc: Ticker) -> None:
    young = make_call(rsi, btc, NOW - DELAY + timedelta(minutes=2), published_at=NOW - DELAY + timedelta(minutes=2))
    make_call(rsi, btc, NOW - DELAY, published_at=NOW - DELAY)
    late = make_call(rsi, btc, NOW - timedelta(hours=1), published_at=NOW - DELAY + timedelta(minutes=2))

    build(NOW)
    now = document(60)["total"]["calls"]
    build(NOW + timedelta(minutes=2))

    assert now == 1
    assert document(60)["total"]["calls"] == 3
    assert {young.pk, late.pk} <= set(public_calls(at=NOW + timedelta(minutes=2)).values_list("pk", flat=True))
    assert not set(public_calls(at=NOW).values_list("pk", flat=True)) & {young.pk, late.pk}


def test_the_calls_shown_one_by_one_are_those_that_are_counted(btc: Ticker) -> None:
    """A slower candle closed before the first slot that ran its configuration, and was called in it."""
    slow = central("rsi", "4h", (DECEMBER + timedelta(minutes=2), None))
    make_call(slow, btc, DECEMBER, slot=DECEMBER + timedelta(minutes=2))

    build(NOW)

    page = document(60)
    assert page["total"]["calls"] == 1
    assert public_calls(at=NOW).count() == 1
    assert page["since"] == page["until"] == DECEMBER.timestamp() * 1000


# --- Two at once ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_at_once_make_it_once(rsi: Configuration, btc: Ticker) -> None:
    for number in range(200):
        call = make_call(rsi, btc, FIRST + timedelta(hours=3 * number))
        make_outcome(call, 60, exit_=100.0 + number % 7)
    build(NOW)
    before, failures = stored(), []

    def work() -> None:
        try:
            for _ in range(3):
                build(NOW, everything=True)
        except Exception as error:  # noqa: BLE001 - said below, by the thread that can fail the test
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert stored() == before
