from __future__ import annotations

import threading
from datetime import datetime, timedelta

import numpy as np
import pytest
from django.db import DatabaseError, connection, transaction

from engine.candles import Float64s
from market.candles import Block, write_candles
from market.models import HeartbeatStatus, Ticker
from signals.models import Call, Configuration, Outcome, Signal
from signals.services.configurations import configuration_for
from signals.services.scoring import NO_ENTRY, NO_EXIT, ScoreCounts, score_calls
from signals.tests.conftest import NOON, make_ticker

FEE = 0.001
PUBLISHED = NOON + timedelta(seconds=2)
ENTRY = NOON + timedelta(minutes=1)  # the first minute that opens after it
LONG_AFTER = NOON + timedelta(days=3)


@pytest.fixture
def configuration(product: None) -> Configuration:
    return configuration_for(algorithm_id="rsi", timeframe="2m", parameters={}, now=NOON)


@pytest.fixture(autouse=True)
def heartbeat(db: None) -> HeartbeatStatus:
    """It has all minutes there are."""
    return HeartbeatStatus.objects.create(exchange="simulated", watermarks={"1m": 4e12}, updated_at=NOON)


@pytest.fixture
def ticker(product: None) -> Ticker:
    return make_ticker("BTCUSDT")


def make_call(
    configuration: Configuration,
    ticker: Ticker,
    signal: Signal = Signal.BUY,
    published_at: datetime = PUBLISHED,
    **times: datetime,
) -> Call:
    minute = published_at.replace(second=0, microsecond=0)
    return Call.objects.create(
        configuration=configuration,
        ticker=ticker,
        **({"candle_closed_at": minute, "slot": minute} | times),
        signal=signal,
        previous_signal=Signal.DO_NOTHING,
        price=100.0,
        value=29.5,
        candles_digest=bytes(16),
        algorithm_version=1,
        published_at=published_at,
    )


def minutes(first: datetime = NOON, count: int = 1500) -> Float64s:
    """Flat minutes at 100, volume 1."""
    rows = np.full((count, 6), 100.0)
    rows[:, 0] = first.timestamp() * 1000 + np.arange(count) * 60_000.0
    rows[:, 5] = 1.0
    return rows


def at(rows: Float64s, opened: datetime) -> int:
    return int(np.flatnonzero(rows[:, 0] == opened.timestamp() * 1000)[0])


def give_minutes(ticker: Ticker, rows: Float64s) -> None:
    write_candles([Block(ticker.pk, "1m", rows)], received_at=NOON)


def score(until: datetime = LONG_AFTER, since: datetime | None = None) -> ScoreCounts:
    return score_calls(market_now=until, now=LONG_AFTER, since=since)


def test_entry_is_the_open_after_publication_and_exit_the_close_at_the_horizon(
    configuration: Configuration, ticker: Ticker
) -> None:
    rows = minutes()
    rows[at(rows, ENTRY), 1] = 200.0  # the open of the entry candle
    rows[at(rows, ENTRY + timedelta(minutes=59)), 4] = 210.0  # the close an hour after that open
    rows[:, 2] = rows[:, [1, 2, 4]].max(axis=1)
    give_minutes(ticker, rows)
    call = make_call(configuration, ticker)

    score()

    outcome = Outcome.objects.get(call=call, horizon=60)
    assert (outcome.entry_at, outcome.exit_at) == (ENTRY, ENTRY + timedelta(hours=1))
    assert (outcome.entry_price, outcome.exit_price) == (200.0, 210.0)
    # 1 unit of money buys 1/200 less a thousandth; sold at 210, less a thousandth.
    assert outcome.net_return == pytest.approx((1 / 200 * 0.999) * 210 * 0.999 - 1, abs=1e-15)
    assert outcome.hold_return == outcome.net_return
    assert outcome.fee_rate == FEE


def test_a_sell_is_the_move_avoided(configuration: Configuration, ticker: Ticker) -> None:
    rows = minutes()
    rows[at(rows, ENTRY) + 1 :, 1:5] = 80.0
    give_minutes(ticker, rows)
    call = make_call(configuration, ticker, Signal.SELL)

    score()

    outcome = Outcome.objects.get(call=call, horizon=240)
    assert outcome.net_return == pytest.approx(100 * 0.999 / 80 * 0.999 - 1, abs=1e-15)
    assert outcome.hold_return == pytest.approx(80 / 100 * 0.999**2 - 1, abs=1e-15)


def test_a_call_published_on_the_minute_enters_with_the_next_one(configuration: Configuration, ticker: Ticker) -> None:
    give_minutes(ticker, minutes())
    make_call(configuration, ticker, published_at=NOON)

    score()

    assert set(Outcome.objects.values_list("entry_at", flat=True)) == {ENTRY}


def test_nothing_is_scored_before_its_exit_has_closed(configuration: Configuration, ticker: Ticker) -> None:
    give_minutes(ticker, minutes())
    make_call(configuration, ticker)

    early = score(ENTRY + timedelta(minutes=59, seconds=59))
    due = score(ENTRY + timedelta(hours=1))

    assert (early, due) == ({"scored": 0, "unscorable": 0}, {"scored": 1, "unscorable": 0})
    assert list(Outcome.objects.values_list("horizon", flat=True)) == [60]


@pytest.mark.parametrize(("missing", "reason"), [(0, NO_ENTRY), (59, NO_EXIT)])
def test_a_missing_candle_is_waited_for_and_then_the_call_is_unscorable(
    configuration: Configuration, ticker: Ticker, missing: int, reason: str
) -> None:
    rows = minutes()
    give_minutes(ticker, np.delete(rows, at(rows, ENTRY) + missing, axis=0))
    call = make_call(configuration, ticker)
    exit_at = ENTRY + timedelta(hours=1)

    score(exit_at + timedelta(hours=23))
    assert not Outcome.objects.filter(call=call, horizon=60).exists()
    score(exit_at + timedelta(hours=24))

    outcome = Outcome.objects.get(call=call, horizon=60)
    assert (outcome.status, outcome.reason, outcome.net_return) == ("unscorable", reason, None)


def test_after_a_stop_nothing_is_unscorable_before_the_minutes_have_come_back(
    configuration: Configuration, ticker: Ticker, heartbeat: HeartbeatStatus
) -> None:
    exit_at = ENTRY + timedelta(hours=1)
    call = make_call(configuration, ticker)
    HeartbeatStatus.objects.update(watermarks={"1m": (exit_at - timedelta(minutes=1)).timestamp() * 1000})
    score(exit_at + timedelta(days=2))
    assert not Outcome.objects.exists()

    give_minutes(ticker, minutes())
    HeartbeatStatus.objects.update(watermarks={"1m": (exit_at + timedelta(days=2)).timestamp() * 1000})
    score(exit_at + timedelta(days=2))

    assert set(call.outcomes.values_list("status", flat=True)) == {"scored"}


def test_a_late_call_of_a_slow_candle_is_settled_in_the_end(configuration: Configuration, ticker: Ticker) -> None:
    late = NOON + timedelta(hours=40)
    give_minutes(ticker, minutes(first=late, count=30))
    call = make_call(configuration, ticker, published_at=late, candle_closed_at=NOON, slot=late)

    for hours in range(0, 96, 6):
        score(late + timedelta(hours=hours))

    assert call.outcomes.filter(status="unscorable").count() == 3


def test_a_candle_that_comes_late_is_still_used(configuration: Configuration, ticker: Ticker) -> None:
    rows = minutes()
    exit_at = ENTRY + timedelta(hours=1)
    index = at(rows, exit_at - timedelta(minutes=1))
    give_minutes(ticker, np.delete(rows, index, axis=0))
    call = make_call(configuration, ticker)
    score(exit_at + timedelta(hours=2))

    give_minutes(ticker, rows[index : index + 1])
    score(exit_at + timedelta(hours=3))

    assert Outcome.objects.get(call=call, horizon=60).status == "scored"


def test_a_delisted_ticker_keeps_its_calls_and_their_outcomes(configuration: Configuration, ticker: Ticker) -> None:
    give_minutes(ticker, minutes(count=120))  # then it was gone
    call = make_call(configuration, ticker)
    Ticker.objects.update(status=Ticker.Status.DELISTED, is_followed=False)

    score()

    assert dict(call.outcomes.values_list("horizon", "status")) == {60: "scored", 240: "unscorable", 1440: "unscorable"}


def test_scoring_again_changes_nothing(configuration: Configuration, ticker: Ticker) -> None:
    give_minutes(ticker, minutes())
    make_call(configuration, ticker)
    score()
    before = list(Outcome.objects.order_by("pk").values())

    again = score()

    assert again == {"scored": 0, "unscorable": 0}
    assert list(Outcome.objects.order_by("pk").values()) == before


def test_a_stop_of_any_length_is_made_up_for(configuration: Configuration, ticker: Ticker) -> None:
    give_minutes(ticker, minutes())
    first = make_call(configuration, ticker)
    score(ENTRY + timedelta(hours=1))  # and then nobody ran for two months
    second = make_call(configuration, ticker, published_at=PUBLISHED + timedelta(minutes=2))

    score(NOON + timedelta(days=60))

    assert [one.outcomes.filter(status="scored").count() for one in (first, second)] == [3, 3]


def test_any_past_day_can_be_scored_again(configuration: Configuration, ticker: Ticker) -> None:
    give_minutes(ticker, minutes())
    make_call(configuration, ticker)
    much_later = NOON + timedelta(days=60)

    of_another_day = score(much_later, since=NOON + timedelta(days=1))
    of_that_day = score(much_later, since=NOON.replace(hour=0))

    assert (of_another_day["scored"], of_that_day["scored"]) == (0, 3)


@pytest.mark.parametrize("statement", ["UPDATE signals_outcome SET net_return = 9", "DELETE FROM signals_outcome"])
def test_an_outcome_cannot_be_changed(configuration: Configuration, ticker: Ticker, statement: str) -> None:
    give_minutes(ticker, minutes())
    make_call(configuration, ticker)
    score()
    before = list(Outcome.objects.order_by("pk").values())

    with pytest.raises(DatabaseError, match="for ever"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)

    assert list(Outcome.objects.order_by("pk").values()) == before


@pytest.mark.django_db(transaction=True)
def test_two_at_once_write_each_outcome_once(configuration: Configuration, ticker: Ticker) -> None:
    give_minutes(ticker, minutes())
    for number in range(50):
        make_call(configuration, ticker, published_at=PUBLISHED + timedelta(minutes=2 * number))
    done: list[ScoreCounts] = []

    def work() -> None:
        done.append(score())
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(done) == 3
    assert Outcome.objects.count() == 150
    assert Outcome.objects.values("call", "horizon").distinct().count() == 150
