from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection

from accounts.models import User
from engine import registry
from engine.algorithm import Algorithm, Lines
from engine.candles import CATCH_UP, Candles
from engine.evaluate import Panel, Verdict, verdict, verdicts
from engine.parameters import Parameters
from market.connection import live_store
from market.models import Ticker
from market.store import CandleStore
from signals.models import Algorithm as AlgorithmRow
from signals.models import AlgorithmPreferences, Call, LatestSignal, SignalResult, Sweep, TickerRun
from signals.services import evaluation
from signals.services.bots import get_or_create_master_bot
from signals.services.evaluation import plan_of, to_ms
from signals.services.results import write_missing
from signals.services.sweeps import open_premium_sweep
from signals.tasks import evaluate_tickers
from signals.tests.conftest import ALGORITHMS, NOON, candles_of, give_candles, make_ticker, minutes_of, open_sweep


def test_every_verdict_equals_a_direct_computation_by_the_engine(sweep: Sweep) -> None:
    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)

    results = list(SignalResult.objects.select_related("configuration", "ticker"))
    assert len(results) == 3 * ALGORITHMS * CATCH_UP
    for result in results:
        candles = candles_of(result.ticker).up_to(to_ms(result.candle_closed_at))
        algorithm = registry.get(result.configuration.algorithm_id)
        expected = verdict(algorithm, result.configuration.parameters, candles)
        assert (result.signal, result.value, result.price, bytes(result.candles_digest)) == (
            expected.signal.value,
            expected.value,
            expected.price,
            expected.candles_digest,
        )


def test_the_next_sweep_adds_one_verdict_per_configuration_and_ticker(sweep: Sweep) -> None:
    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)

    following = open_sweep(NOON + timedelta(minutes=2))
    evaluate_tickers(sweep_id=following.pk, ticker_ids=following.ticker_ids)

    assert SignalResult.objects.filter(slot=following.slot).count() == 3 * ALGORITHMS
    assert set(SignalResult.objects.filter(slot=following.slot).values_list("candle_closed_at", flat=True)) == {
        NOON + timedelta(minutes=2)
    }
    assert set(LatestSignal.objects.values_list("candle_closed_at", flat=True)) == {NOON + timedelta(minutes=2)}


def test_a_task_run_twice_writes_once(sweep: Sweep) -> None:
    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)
    before = _all_rows()

    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)

    assert _all_rows() == before


@pytest.mark.django_db(transaction=True)
def test_tasks_run_at_the_same_time_write_once(sweep: Sweep) -> None:
    def run() -> None:
        try:
            evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert TickerRun.objects.filter(status="ok").count() == 3
    assert SignalResult.objects.count() == 3 * ALGORITHMS * CATCH_UP
    receipts_say = sum(TickerRun.objects.values_list("calls", flat=True))
    assert Call.objects.count() == receipts_say > 0


def test_a_call_is_written_wherever_the_verdict_turned_to_buy_or_sell(sweep: Sweep) -> None:
    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)

    expected = set()
    for result in SignalResult.objects.select_related("configuration", "ticker"):
        candles = candles_of(result.ticker).up_to(to_ms(result.candle_closed_at))
        before = verdict(
            registry.get(result.configuration.algorithm_id), result.configuration.parameters, candles, len(candles) - 1
        )
        if result.signal != "DO NOTHING" and result.signal != before.signal.value:
            expected.add((result.configuration_id, result.ticker_id, result.candle_closed_at, result.signal))
    calls = set(Call.objects.values_list("configuration_id", "ticker_id", "candle_closed_at", "signal"))
    assert calls == expected
    assert expected, "the candles of this test must give calls"
    newest = LatestSignal.objects.exclude(called_at=None).first()
    assert newest is not None
    assert newest.called_at is not None
    assert Call.objects.filter(
        configuration=newest.configuration_id, ticker=newest.ticker_id, candle_closed_at=newest.called_at
    ).exists()


def test_after_a_pause_the_last_ten_candles_get_verdicts_and_the_holes_are_counted(tickers: list[Ticker]) -> None:
    first = open_sweep(NOON - timedelta(minutes=60))
    evaluate_tickers(sweep_id=first.pk, ticker_ids=first.ticker_ids)

    late = open_sweep(NOON)
    evaluate_tickers(sweep_id=late.pk, ticker_ids=late.ticker_ids)

    written = SignalResult.objects.filter(slot=NOON, ticker=tickers[0], configuration=late.configuration_ids[0])
    assert written.count() == CATCH_UP
    receipt = TickerRun.objects.get(slot=NOON, ticker=tickers[0])
    assert receipt.holes == ALGORITHMS * (30 - CATCH_UP)


def test_stale_candles_give_a_receipt_and_never_a_signal(tickers: list[Ticker]) -> None:
    slot = NOON + timedelta(minutes=34)  # the candles end at 12:30
    sweep = open_sweep(slot)

    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)

    receipts = TickerRun.objects.filter(slot=slot)
    assert set(receipts.values_list("status", "error")) == {
        ("stale", "the newest 2m candle closed 240 s before the slot")
    }
    assert not SignalResult.objects.exists()


def test_a_ticker_without_candles_is_stale(tickers: list[Ticker]) -> None:
    CandleStore().replace([])
    newcomer = Ticker.objects.get(pk=tickers[0].pk)
    newcomer.pk, newcomer.symbol = None, "NEWUSDT"
    newcomer.save()
    sweep = open_sweep(NOON)

    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=[newcomer.pk])

    assert TickerRun.objects.get(ticker=newcomer).error == "no 2m candles"


def test_candles_after_the_slot_are_not_looked_at(tickers: list[Ticker]) -> None:
    sweep = open_sweep(NOON)

    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)

    newest = SignalResult.objects.order_by("-candle_closed_at").first()
    assert newest is not None
    assert newest.candle_closed_at == NOON


def test_a_late_worker_after_the_close_writes_nothing(sweep: Sweep) -> None:
    write_missing(plan=plan_of(sweep.pk), ticker_ids=sweep.ticker_ids, now=datetime.now(UTC))

    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)

    assert set(TickerRun.objects.values_list("status", flat=True)) == {"missing"}
    assert not SignalResult.objects.exists()
    assert not LatestSignal.objects.exists()


def test_what_a_missing_ticker_was_owed_is_written_by_the_next_sweep(sweep: Sweep) -> None:
    write_missing(plan=plan_of(sweep.pk), ticker_ids=sweep.ticker_ids, now=datetime.now(UTC))
    following = open_sweep(NOON + timedelta(minutes=2))

    evaluate_tickers(sweep_id=following.pk, ticker_ids=following.ticker_ids)

    assert SignalResult.objects.filter(candle_closed_at=NOON).count() == 3 * ALGORITHMS


Lining = Callable[[Candles, Parameters], Lines]


@pytest.fixture
def own_algorithm() -> Iterator[Callable[[Lining], None]]:
    """Makes an algorithm with these lines part of the central feed."""

    def add(lines: Lining) -> None:
        algorithm = Algorithm(
            id="own",
            name="Own",
            description="A test's.",
            version=1,
            value_label="nothing",
            parameters=(),
            lookback=lambda parameters: 10,
            lines=lines,
            rule=lambda candles, lines, parameters: (lines[0] > 1, lines[0] > 2),
        )
        registry.register(algorithm)
        AlgorithmRow.objects.create(id="own", name="Own", description="")
        get_or_create_master_bot(now=NOON)

    yield add
    registry._registered.pop("own")


def test_an_algorithm_that_raises_costs_itself_only(
    tickers: list[Ticker], own_algorithm: Callable[[Lining], None]
) -> None:
    def raises(candles: Candles, parameters: Parameters) -> Lines:
        raise ZeroDivisionError("by a user's strategy")

    own_algorithm(raises)
    sweep = open_sweep(NOON)

    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)

    receipts = list(TickerRun.objects.values_list("status", "error"))
    assert receipts == [("failed", "own: ZeroDivisionError: by a user's strategy")] * 3
    assert SignalResult.objects.count() == 3 * ALGORITHMS * CATCH_UP


def test_an_algorithm_that_raises_on_one_ticker_goes_on_with_the_others(
    tickers: list[Ticker], own_algorithm: Callable[[Lining], None]
) -> None:
    poison = candles_of(tickers[1]).up_to(to_ms(NOON)).close[-1]

    def raises(candles: Candles, parameters: Parameters) -> Lines:
        if candles.close[-1] == poison:
            raise ZeroDivisionError("poison")
        return (np.zeros(len(candles)),)

    own_algorithm(raises)
    sweep = open_sweep(NOON)

    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)

    statuses = dict(TickerRun.objects.values_list("ticker", "status"))
    assert statuses == {tickers[0].pk: "ok", tickers[1].pk: "failed", tickers[2].pk: "ok"}
    assert SignalResult.objects.count() == 3 * ALGORITHMS * CATCH_UP + 2 * CATCH_UP


@pytest.mark.parametrize("words", ["a NUL \0 in it", "half a character \ud800", "x" * 1_000])
def test_whatever_an_algorithm_says_of_its_failure_can_be_written(
    tickers: list[Ticker], own_algorithm: Callable[[Lining], None], words: str
) -> None:
    def raises(candles: Candles, parameters: Parameters) -> Lines:
        raise ValueError(words)

    own_algorithm(raises)
    sweep = open_sweep(NOON)

    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)

    assert {error[:15] for error in TickerRun.objects.values_list("error", flat=True)} == {"own: ValueError"}
    assert SignalResult.objects.count() == 3 * ALGORITHMS * CATCH_UP


def test_a_failure_that_cannot_even_be_told_costs_nothing_more(
    tickers: list[Ticker], own_algorithm: Callable[[Lining], None]
) -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise KeyError("words")

    def raises(candles: Candles, parameters: Parameters) -> Lines:
        raise Unspeakable

    own_algorithm(raises)
    sweep = open_sweep(NOON)

    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)

    assert set(TickerRun.objects.values_list("error", flat=True)) == {"own: Unspeakable: (without words)"}
    assert SignalResult.objects.count() == 3 * ALGORITHMS * CATCH_UP


def test_an_algorithm_that_does_not_come_back_is_left_out_for_the_rest_of_the_sweep(
    tickers: list[Ticker], own_algorithm: Callable[[Lining], None]
) -> None:
    asked = []

    def hangs(candles: Candles, parameters: Parameters) -> Lines:
        asked.append(candles)
        time.sleep(0.5)
        raise SoftTimeLimitExceeded  # as Celery does in the middle of it

    own_algorithm(hangs)
    sweep = open_sweep(NOON)

    for ticker in tickers:
        evaluate_tickers(sweep_id=sweep.pk, ticker_ids=[ticker.pk])

    errors = list(TickerRun.objects.order_by("ticker").values_list("error", flat=True))
    assert errors[0].startswith("own: stopped by the time limit, of which own took ")
    assert errors[1:] == ["own: took a task's time before; left out until the next sweep"] * 2
    assert len(asked) == 1
    assert SignalResult.objects.count() == 3 * ALGORITHMS * CATCH_UP


def test_the_time_limit_is_blamed_on_who_took_the_time_and_what_there_is_is_written(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, slow, struck, _ = plan_of(sweep.pk).configurations

    def judge(algorithm: Algorithm, parameters: Parameters, panel: Panel) -> list[Verdict]:
        if algorithm.id == slow.algorithm_id:
            time.sleep(0.5)
        if algorithm.id == struck.algorithm_id:
            raise SoftTimeLimitExceeded
        return verdicts(algorithm, parameters, panel)

    monkeypatch.setattr(evaluation, "verdicts", judge)

    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)

    assert plan_of(sweep.pk).too_slow == {slow.algorithm_id}
    assert SignalResult.objects.count() == 3 * (ALGORITHMS - 2) * CATCH_UP
    errors = set(TickerRun.objects.values_list("error", flat=True))
    assert [error.split(",")[0] for error in errors] == [f"{struck.algorithm_id}: stopped by the time limit"]


def test_two_feeds_share_the_verdicts_of_one_configuration(sweep: Sweep, alice: User) -> None:
    configuration = sweep.configuration_ids[0]
    preference = AlgorithmPreferences.objects.create(
        user=alice, configuration_id=configuration, all_tickers=True, execution_frequency="*/5 * * * *"
    )
    premium = open_premium_sweep(preference_id=preference.pk, slot=NOON, now=datetime.now(UTC))
    assert premium is not None

    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)
    evaluate_tickers(sweep_id=premium.pk, ticker_ids=premium.ticker_ids)

    assert SignalResult.objects.filter(configuration=configuration).count() == 3 * CATCH_UP
    assert TickerRun.objects.filter(sweep=premium, status="ok").count() == 3


def test_an_emptied_candle_store_changes_no_verdict(sweep: Sweep) -> None:
    live_store().flushdb()

    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)

    assert SignalResult.objects.count() == 3 * ALGORITHMS * CATCH_UP


def test_a_new_ticker_without_enough_history_says_so(tickers: list[Ticker]) -> None:
    newcomer = make_ticker("NEWUSDT")
    give_candles(newcomer, minutes_of(9, until=NOON, count=40))
    sweep = open_sweep(NOON)

    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=[newcomer.pk])

    reasons = set(SignalResult.objects.filter(ticker=newcomer).values_list("signal", "reason"))
    assert {signal for signal, _ in reasons} == {"DO NOTHING"}
    assert all(reason.startswith("warming up: ") for _, reason in reasons)


def _all_rows() -> list[object]:
    return [list(model.objects.order_by("pk").values_list()) for model in (TickerRun, SignalResult, LatestSignal, Call)]
