from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.utils import InternalError
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from billing.entitlements import entitlements, entitlements_of_each
from billing.models import PlanGrant
from live.frames import Delivery, identity_of
from live.groups import MARKET_GROUP, group_name, user_group
from live.messages import Pair, SignalFrame
from live.relay import Delivered, Wanted
from market.models import Ticker
from signals.models import AlgorithmPreferences, Call, SignalResult, Sweep
from signals.services import delivery
from signals.services.configurations import configuration_for
from signals.services.evaluation import LatestSignals, TickerOutcome, evaluate, load_latest, plan_of, to_ms
from signals.services.following import (
    BeyondPlan,
    central_configurations,
    follow,
    follow_default,
)
from signals.services.results import write_outcomes
from signals.services.sweeps import open_premium_sweep
from signals.tasks import close_sweeps, evaluate_tickers
from signals.tests.conftest import ALGORITHMS, NOON, candles_of


@pytest.fixture
def done(sweep: Sweep) -> Sweep:
    """A closed sweep."""
    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)
    close_sweeps()
    sweep.refresh_from_db()
    return sweep


def test_a_committed_verdict_goes_to_the_shared_group_of_its_pair(sweep: Sweep) -> None:
    deliveries = _evaluate(sweep)

    assert len(deliveries) == 3 * ALGORITHMS * 10
    for group, frame in deliveries:
        assert group == group_name(frame["algorithm"], frame["ticker"])
        assert frame["feed"] == "central"


def test_premium_results_go_to_their_owner_alone(tickers: list[Ticker], alice: User) -> None:
    premium = _premium_sweep(alice, tickers, {"period": 7})

    deliveries = _evaluate(premium)

    assert {group for group, _ in deliveries} == {user_group(alice.pk)}
    assert {frame["feed"] for _, frame in deliveries} == {premium.feed}
    assert len(deliveries) == 3


def test_a_premium_user_hears_of_verdicts_the_central_feed_wrote(
    done: Sweep, tickers: list[Ticker], alice: User
) -> None:
    premium = _premium_sweep(alice, tickers, {})  # the central feed's very configuration

    deliveries = _evaluate(premium)

    assert [(group, frame["closed_at"]) for group, frame in deliveries] == [(user_group(alice.pk), to_ms(NOON))] * 3


def test_an_owner_hears_of_a_verdict_that_another_feed_committed_first(
    sweep: Sweep, tickers: list[Ticker], alice: User
) -> None:
    premium = _premium_sweep(alice, tickers, {})  # the central feed's configuration
    plan, loaded_before = plan_of(premium.pk), _latest(premium)
    _evaluate(sweep)  # the central feed is quicker

    outcomes = _outcomes(premium, loaded_before)
    written = write_outcomes(plan=plan, outcomes=outcomes, now=datetime.now(UTC))
    told = delivery.deliveries_of(plan=plan, written=written)

    assert written.inserted == ()
    assert {(group, frame["closed_at"]) for group, frame in told} == {(user_group(alice.pk), to_ms(NOON))}


def test_the_shared_group_is_refilled_with_what_a_premium_feed_wrote(tickers: list[Ticker], alice: User) -> None:
    premium = _premium_sweep(alice, tickers, {})
    evaluate_tickers(sweep_id=premium.pk, ticker_ids=premium.ticker_ids)
    close_sweeps()

    found, _ = delivery.catch_up(None, wanted=everything(), now=datetime.now(UTC))

    shared = {group for group, frame in found if frame["type"] == "signal" and frame["feed"] == "central"}
    assert shared == {group_name("rsi", ticker.symbol) for ticker in tickers}
    own = [frame for group, frame in found if group == user_group(alice.pk) and frame["type"] == "signal"]
    assert {frame["feed"] for frame in own} == {premium.feed}
    assert len(own) == 3


def test_catching_up_gives_a_closed_sweeps_results_before_its_closing(done: Sweep) -> None:
    deliveries, _ = delivery.catch_up(None, wanted=everything(), now=datetime.now(UTC))

    assert len(deliveries) == 3 * ALGORITHMS * 10 + 1
    group, frame = deliveries[-1]
    assert frame["type"] == "sweep_closed"
    assert (group, frame["slot"]) == (MARKET_GROUP, to_ms(NOON))


def test_a_closed_sweep_is_told_once(done: Sweep) -> None:
    _, told = delivery.catch_up(None, wanted=everything(), now=datetime.now(UTC))

    deliveries, _ = delivery.catch_up(told, wanted=everything(), now=datetime.now(UTC))

    assert deliveries == []


def test_only_what_is_new_is_told_and_a_look_without_news_reads_ids_alone(
    done: Sweep, tickers: list[Ticker], alice: User
) -> None:
    all_of_it = everything()
    _, told = delivery.catch_up(None, wanted=all_of_it, now=datetime.now(UTC))
    with CaptureQueriesContext(connection) as asked:
        nothing, told = delivery.catch_up(told, wanted=all_of_it, now=datetime.now(UTC))

    premium = _premium_sweep(alice, tickers, {"period": 7})
    evaluate_tickers(sweep_id=premium.pk, ticker_ids=premium.ticker_ids)
    close_sweeps()
    news, _ = delivery.catch_up(told, wanted=wanted_by([MARKET_GROUP]), now=datetime.now(UTC))

    assert nothing == []
    assert len(asked) == 1
    assert "ticker_ids" not in asked.captured_queries[0]["sql"]
    assert [group for group, _ in news] == [user_group(alice.pk)]


def test_sweeps_are_told_in_the_order_they_were_closed_in(done: Sweep, tickers: list[Ticker], alice: User) -> None:
    premium = _premium_sweep(alice, tickers, {"period": 7})
    evaluate_tickers(sweep_id=premium.pk, ticker_ids=premium.ticker_ids)
    close_sweeps()
    Sweep.objects.filter(pk=done.pk).update(closed_at=datetime.now(UTC))  # the older sweep, closed later

    found, _ = delivery.catch_up(None, wanted=wanted_by([MARKET_GROUP]), now=datetime.now(UTC))

    assert [group for group, _ in found] == [user_group(alice.pk), MARKET_GROUP]


def test_catching_up_from_postgres_tells_the_same_as_the_workers_did(sweep: Sweep) -> None:
    told = _evaluate(sweep)
    close_sweeps()

    found, _ = delivery.catch_up(None, wanted=everything(), now=datetime.now(UTC))

    by_identity = {_identity(frame): (group, frame) for group, frame in found if frame["type"] == "signal"}
    assert {_identity(frame): (group, frame) for group, frame in told} == by_identity


def test_where_nobody_follows_a_pair_catching_up_reads_no_verdict(done: Sweep, bob: User) -> None:
    with CaptureQueriesContext(connection) as asked:
        found, _ = delivery.catch_up(None, wanted=wanted_by([MARKET_GROUP, user_group(bob.pk)]), now=datetime.now(UTC))

    assert [(group, frame["type"]) for group, frame in found] == [(MARKET_GROUP, "sweep_closed")]
    assert not any("signals_signalresult" in query["sql"] for query in asked.captured_queries)


def test_catching_up_reads_the_verdicts_of_what_is_followed_here(done: Sweep) -> None:
    btc, eth = group_name("rsi", "BTCUSDT"), group_name("macd", "ETHUSDT")

    found, _ = delivery.catch_up(None, wanted=wanted_by([btc, eth]), now=datetime.now(UTC))

    wanted = [group for group, _ in found if group in (btc, eth)]
    assert (wanted.count(btc), wanted.count(eth)) == (10, 10)


def test_what_was_delivered_is_not_read_again_and_what_is_lacking_is(sweep: Sweep) -> None:
    told: list[Delivery] = [*_evaluate(sweep)]
    close_sweeps()
    groups = {group for group, _ in told}
    missed = told.pop(47)

    with CaptureQueriesContext(connection) as asked:
        all_known, _ = delivery.catch_up(None, wanted=wanted_by(groups, [*told, missed]), now=datetime.now(UTC))
    found, _ = delivery.catch_up(None, wanted=wanted_by(groups, told), now=datetime.now(UTC))

    assert [frame["type"] for _, frame in all_known] == ["sweep_closed"]
    assert not any("result.reason" in query["sql"] for query in asked.captured_queries)
    assert missed in found
    assert {group for group, _ in found} == {missed[0], MARKET_GROUP}


def test_a_ticker_that_was_deleted_by_hand_costs_the_others_nothing(
    done: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = everything()
    left = dict(Ticker.objects.exclude(symbol="BTCUSDT").values_list("pk", "symbol"))
    monkeypatch.setattr(delivery, "symbols_of", lambda ids: left)

    found, _ = delivery.catch_up(None, wanted=wanted, now=datetime.now(UTC))

    assert sum(frame["type"] == "signal" for _, frame in found) == 2 * ALGORITHMS * 10


def test_who_joins_while_it_is_asked_what_was_closed_lacks_nothing(done: Sweep) -> None:
    btc = group_name("rsi", "BTCUSDT")
    joined: dict[str, None] = {}

    def join_after_the_first_question(execute: Any, *question: Any) -> Any:
        answer = execute(*question)
        joined[btc] = None
        return answer

    with connection.execute_wrapper(join_after_the_first_question):
        found, _ = delivery.catch_up(None, wanted=Wanted(joined.keys(), Delivered()), now=datetime.now(UTC))

    assert [group for group, _ in found].count(btc) == 10


def test_an_owner_who_is_not_here_is_told_of_the_closing_alone(tickers: list[Ticker], alice: User) -> None:
    premium = _premium_sweep(alice, tickers, {"period": 7})
    evaluate_tickers(sweep_id=premium.pk, ticker_ids=premium.ticker_ids)
    close_sweeps()

    found, _ = delivery.catch_up(None, wanted=wanted_by([MARKET_GROUP]), now=datetime.now(UTC))

    assert [(group, frame["type"]) for group, frame in found] == [(user_group(alice.pk), "sweep_closed")]


def test_a_relay_that_starts_later_does_not_tell_of_it(done: Sweep) -> None:
    deliveries, _ = delivery.catch_up(None, wanted=everything(), now=datetime.now(UTC) + timedelta(minutes=5))

    assert deliveries == []


def test_a_replay_gives_what_the_user_follows_and_nothing_else(done: Sweep, bob: User, tickers: list[Ticker]) -> None:
    _follow(bob, tickers[:2])

    replayed = delivery.replay(user=bob, since_ms=to_ms(NOON), market_now=NOON, now=NOON)

    assert replayed is not None
    frames = [json.loads(text) for text in replayed]
    assert {frame["ticker"] for frame in frames} == {"BTCUSDT", "ETHUSDT"}
    assert len({frame["algorithm"] for frame in frames}) == 3
    assert len(frames) == 2 * 3 * 10


def test_a_replay_is_oldest_first_whoever_is_followed_where(done: Sweep, bob: User, tickers: list[Ticker]) -> None:
    _follow(bob, tickers[:2])
    elsewhere = AlgorithmPreferences.objects.for_user(bob).order_by("configuration").first()
    assert elsewhere is not None
    elsewhere.tickers.set(tickers[2:])

    replayed = delivery.replay(user=bob, since_ms=to_ms(NOON), market_now=NOON, now=NOON)

    assert replayed is not None
    closes = [json.loads(text)["closed_at"] for text in replayed]
    assert closes == sorted(closes)
    assert len(closes) == (2 * 2 + 1) * 10


def test_a_replay_takes_little_more_room_than_its_text(done: Sweep, bob: User, tickers: list[Ticker]) -> None:
    """A reader may take it as slowly as he is let, and it is held for him. (Of letters that take one byte each, as ours do.)"""
    _follow(bob, tickers)

    def replayed() -> list[str]:
        return delivery.replay(user=bob, since_ms=to_ms(NOON), market_now=NOON, now=NOON) or []

    replayed()  # what is loaded at the first time stays for all
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        texts = replayed()
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert len(texts) == 3 * 3 * 10
    assert held < 2 * sum(map(len, texts))


def test_a_replay_of_too_much_asks_for_a_reload(
    done: Sweep, bob: User, tickers: list[Ticker], monkeypatch: pytest.MonkeyPatch
) -> None:
    _follow(bob, tickers)
    monkeypatch.setattr(delivery, "MOST_REPLAYED", 5)

    assert delivery.replay(user=bob, since_ms=to_ms(NOON), market_now=NOON, now=NOON) is None


def test_a_user_is_joined_to_the_groups_of_the_pairs_they_follow(
    tickers: list[Ticker], bob: User, charlie: User
) -> None:
    _follow(bob, tickers[:2])

    algorithms = [one.algorithm_id for one in central_configurations()[:3]]
    expected = {group_name(algorithm, ticker.symbol) for algorithm in algorithms for ticker in tickers[:2]}
    assert set(delivery.groups_of(user=bob, now=NOON)) == expected | {MARKET_GROUP, user_group(bob.pk)}
    assert set(delivery.groups_of(user=charlie, now=NOON)) == {MARKET_GROUP, user_group(charlie.pk)}


def test_what_many_users_are_joined_to_is_asked_at_once_and_is_the_same_as_one_by_one(
    tickers: list[Ticker], alice: User, bob: User, charlie: User
) -> None:
    follow_default(user=alice, allowed=entitlements(alice, now=NOON))  # all tickers
    _premium_sweep(alice, tickers[:1], {"period": 7})
    _follow(bob, tickers[:2])
    users = [alice, bob, charlie]
    allowed = entitlements_of_each(user_ids=[user.pk for user in users], now=NOON)

    with CaptureQueriesContext(connection) as asked:
        together = delivery.groups_of_each(allowed=allowed)

    assert allowed == {user.pk: entitlements(user, now=NOON) for user in users}
    assert together == {user.pk: delivery.groups_of(user=user, now=NOON) for user in users}
    assert [len(groups) for groups in together.values()] == [ALGORITHMS * 3 + 2, 3 * 2 + 2, 2]
    assert len(asked) == 4


def test_a_plan_that_ended_cuts_what_is_joined_and_deletes_nothing(tickers: list[Ticker], alice: User) -> None:
    follow_default(user=alice, allowed=entitlements(alice, now=NOON))
    before = delivery.groups_of(user=alice, now=NOON)

    PlanGrant.objects.filter(user=alice).update(ends_at=NOON)
    after = delivery.groups_of(user=alice, now=NOON)

    assert len(before) == ALGORITHMS * 3 + 2
    assert len(after) == 3 * 3 + 2
    assert AlgorithmPreferences.objects.for_user(alice).count() == ALGORITHMS


def test_following_leaves_a_preference_with_its_own_schedule_alone(tickers: list[Ticker], alice: User) -> None:
    premium = _premium_sweep(alice, tickers[:1], {})

    follow_default(user=alice, allowed=entitlements(alice, now=NOON))

    own = AlgorithmPreferences.objects.for_user(alice).get(configuration=premium.configuration_ids[0])
    assert (own.execution_frequency, own.all_tickers) == ("*/2 * * * *", False)
    assert list(own.tickers.all()) == tickers[:1]


def test_a_free_user_follows_no_more_than_the_plan_allows(tickers: list[Ticker], bob: User) -> None:
    with pytest.raises(BeyondPlan, match="up to 3 algorithms"):
        follow(
            user=bob,
            configurations=central_configurations(),
            tickers=tickers,
            all_tickers=False,
            allowed=entitlements(bob, now=NOON),
        )

    assert not AlgorithmPreferences.objects.for_user(bob).exists()


def test_a_replay_from_too_far_back_asks_for_a_reload_and_the_future_holds_nothing(done: Sweep, bob: User) -> None:
    def look_back_to(since_ms: int) -> object:
        return delivery.replay(user=bob, since_ms=since_ms, market_now=NOON, now=NOON)

    assert look_back_to(0) is None
    assert look_back_to(2**53 - 1) == []


def test_a_socket_joins_no_pair_that_the_user_does_not_follow(tickers: list[Ticker], bob: User) -> None:
    _follow(bob, tickers[:1])
    followed = central_configurations()[0].algorithm_id
    other = central_configurations()[3].algorithm_id
    pairs: list[Pair] = [
        {"algorithm": followed, "ticker": "BTCUSDT"},
        {"algorithm": other, "ticker": "BTCUSDT"},
        {"algorithm": followed, "ticker": "ETHUSDT"},
        {"algorithm": "nosuch", "ticker": "NOSUCH"},
    ]

    refused = delivery.refused_pairs(user=bob, pairs=pairs, now=NOON)

    assert [(pair["algorithm"], pair["ticker"]) for pair in refused] == [
        (other, "BTCUSDT"), (followed, "ETHUSDT"), ("nosuch", "NOSUCH"),
    ]  # fmt: skip


def test_strangers_see_the_central_feed_delayed_and_users_see_it_live(done: Sweep, bob: User) -> None:
    live = SignalResult.objects.visible_to(bob, NOON)
    delayed = SignalResult.objects.visible_to(None, NOON)

    assert live.filter(candle_closed_at=NOON).count() == 3 * ALGORITHMS
    assert delayed.exists()
    assert not delayed.filter(candle_closed_at__gt=NOON - timedelta(minutes=15)).exists()


def test_nobody_sees_another_users_premium_verdicts(tickers: list[Ticker], alice: User, bob: User) -> None:
    premium = _premium_sweep(alice, tickers, {"period": 7})
    _evaluate(premium)

    assert SignalResult.objects.visible_to(alice, NOON).count() == 3 * 10
    assert not SignalResult.objects.visible_to(bob, NOON).exists()
    assert not SignalResult.objects.visible_to(None, NOON + timedelta(days=1)).exists()


@pytest.mark.parametrize("statement", ["UPDATE signals_call SET price = 1", "DELETE FROM signals_call"])
def test_a_call_can_be_neither_changed_nor_deleted(done: Sweep, statement: str) -> None:
    before = list(Call.objects.order_by("pk").values_list())
    assert before

    with pytest.raises((IntegrityError, InternalError), match="a call is for ever"), transaction.atomic():
        connection.cursor().execute(statement)

    assert list(Call.objects.order_by("pk").values_list()) == before


def wanted_by(groups: Iterable[str], told: Iterable[Delivery] = ()) -> Wanted:
    """Of a process whose sockets are in these groups and were told of this."""
    delivered = Delivered()
    for group, frame in told:
        delivered.add(identity_of(group, frame))
    return Wanted(dict.fromkeys(groups).keys(), delivered)


def everything() -> Wanted:
    """Of a process that has a socket in every group and was told of nothing."""
    symbols = Ticker.objects.values_list("symbol", flat=True)
    pairs = [group_name(one.algorithm_id, symbol) for one in central_configurations() for symbol in symbols]
    return wanted_by([MARKET_GROUP, *map(user_group, User.objects.values_list("pk", flat=True)), *pairs])


def _evaluate(sweep: Sweep) -> list[tuple[str, SignalFrame]]:
    """What evaluate_tickers does, giving what it would publish."""
    plan, latest = plan_of(sweep.pk), _latest(sweep)
    outcomes = _outcomes(sweep, latest)
    written = write_outcomes(plan=plan, outcomes=outcomes, now=datetime.now(UTC))
    return delivery.deliveries_of(plan=plan, written=written)


def _latest(sweep: Sweep) -> LatestSignals:
    return load_latest(configuration_ids=sweep.configuration_ids, ticker_ids=sweep.ticker_ids)


def _outcomes(sweep: Sweep, latest: LatestSignals) -> list[TickerOutcome]:
    plan = plan_of(sweep.pk)
    tickers = Ticker.objects.in_bulk(sweep.ticker_ids)
    candles = {t: {pk: candles_of(ticker, t) for pk, ticker in tickers.items()} for t in plan.timeframes}
    return evaluate(plan=plan, ticker_ids=list(tickers), candles=candles, latest=latest)


def _identity(frame: object) -> tuple[object, ...]:
    return frame["configuration"], frame["ticker"], frame["closed_at"]  # type: ignore[index]


def _premium_sweep(user: User, tickers: list[Ticker], parameters: dict[str, int]) -> Sweep:
    preference = AlgorithmPreferences.objects.create(
        user=user,
        configuration=configuration_for(algorithm_id="rsi", timeframe="2m", parameters=parameters, now=NOON),
        execution_frequency=AlgorithmPreferences.Frequency.EVERY_2_MINUTES,
    )
    preference.tickers.set(tickers)
    sweep = open_premium_sweep(preference_id=preference.pk, slot=NOON, now=datetime.now(UTC))
    assert sweep is not None
    return sweep


def _follow(user: User, tickers: list[Ticker]) -> None:
    follow(
        user=user,
        configurations=central_configurations()[:3],
        tickers=tickers,
        all_tickers=False,
        allowed=entitlements(user, now=NOON),
    )
