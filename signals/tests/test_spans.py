"""Which calls are public for ever: those of what the central feed ran, while it ran it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django_celery_beat.models import PeriodicTask

from market.models import Ticker
from signals.models import AlgorithmPreferences, Call, CentralSpan, Configuration, Signal
from signals.services.record import public_calls
from signals.services.sweeps import end_spans_of_stopped_feed
from signals.tests.conftest import ALGORITHMS, NOON, open_sweep

LATER = NOON + timedelta(minutes=10)


def spans(configuration: Configuration) -> list[tuple[datetime, datetime | None]]:
    return list(CentralSpan.objects.filter(configuration=configuration).order_by("since").values_list("since", "until"))


@pytest.fixture
def rsi(tickers: list[Ticker]) -> Configuration:
    return AlgorithmPreferences.objects.central().get(configuration__algorithm="rsi").configuration


def switch(configuration: Configuration, is_enabled: bool) -> None:
    AlgorithmPreferences.objects.filter(configuration=configuration).update(is_enabled=is_enabled)


def call_at(configuration: Configuration, ticker: Ticker, slot: datetime) -> Call:
    return Call.objects.create(
        configuration=configuration, ticker=ticker, candle_closed_at=slot, slot=slot, signal=Signal.BUY,
        previous_signal=Signal.DO_NOTHING, price=1.0, candles_digest=bytes(16), algorithm_version=1, published_at=slot,
    )  # fmt: skip


def test_a_span_begins_with_the_first_sweep_and_stays_open(rsi: Configuration) -> None:
    open_sweep(NOON)
    open_sweep(NOON + timedelta(minutes=2))

    assert spans(rsi) == [(NOON, None)]
    assert CentralSpan.objects.count() == ALGORITHMS


def test_what_leaves_the_feed_and_comes_back_has_two_spans(rsi: Configuration) -> None:
    open_sweep(NOON)
    switch(rsi, False)
    open_sweep(NOON + timedelta(minutes=2))
    switch(rsi, True)
    open_sweep(LATER)

    assert spans(rsi) == [(NOON, NOON + timedelta(minutes=2)), (LATER, None)]


def test_a_late_slot_moves_the_beginning_but_never_into_an_older_span(rsi: Configuration) -> None:
    open_sweep(LATER)
    open_sweep(NOON)  # late
    assert spans(rsi) == [(NOON, None)]

    switch(rsi, False)
    open_sweep(LATER + timedelta(minutes=2))
    switch(rsi, True)
    open_sweep(LATER + timedelta(minutes=6))
    open_sweep(LATER + timedelta(minutes=1))  # late, of a time when it was in the feed before

    assert spans(rsi) == [(NOON, LATER + timedelta(minutes=2)), (LATER + timedelta(minutes=6), None)]


def test_calls_are_public_from_the_first_slot_to_the_last_and_as_late_as_for_strangers(
    rsi: Configuration, tickers: list[Ticker]
) -> None:
    before, during, after = (call_at(rsi, tickers[0], NOON + timedelta(minutes=two)) for two in (-2, 0, 2))
    open_sweep(NOON)
    switch(rsi, False)
    open_sweep(NOON + timedelta(minutes=2))

    assert list(public_calls(at=NOON + timedelta(hours=1))) == [during]
    assert list(public_calls(at=NOON + timedelta(minutes=14))) == []
    assert before.pk
    assert after.pk


def test_a_late_slot_without_an_open_span_makes_none_inside_an_older_one(rsi: Configuration) -> None:
    open_sweep(NOON)
    switch(rsi, False)
    open_sweep(LATER)
    switch(rsi, True)

    open_sweep(NOON + timedelta(minutes=4))  # late, and the first since it was switched on again

    assert spans(rsi) == [(NOON, LATER)]


def test_a_late_slot_ends_nothing_that_ran_after_it(rsi: Configuration) -> None:
    open_sweep(NOON)
    open_sweep(LATER)
    switch(rsi, False)

    open_sweep(NOON + timedelta(minutes=4))  # late

    assert spans(rsi) == [(NOON, None)]
    open_sweep(LATER + timedelta(minutes=2))
    assert spans(rsi) == [(NOON, LATER + timedelta(minutes=2))]


def test_while_the_operator_has_stopped_the_feed_nothing_is_public(rsi: Configuration, tickers: list[Ticker]) -> None:
    open_sweep(NOON)
    public = call_at(rsi, tickers[0], NOON)
    end_spans_of_stopped_feed()
    assert spans(rsi) == [(NOON, None)]  # it runs

    PeriodicTask.objects.filter(name="central sweep").update(enabled=False)
    end_spans_of_stopped_feed()
    call_at(rsi, tickers[0], NOON + timedelta(minutes=2))  # a premium user's, of the same configuration

    assert list(public_calls(at=NOON + timedelta(hours=1))) == [public]
