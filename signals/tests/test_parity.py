"""A day's replay finds nothing where nothing was touched, and whatever was."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import User
from engine.candles import CATCH_UP
from market.candles import Block, write_candles, write_revisions
from market.models import Candle, Ticker
from signals.models import AlgorithmPreferences, Call, Configuration, Outcome, SignalResult, Sweep
from signals.services.configurations import configuration_for
from signals.services.parity import NothingToReplay, replay_day
from signals.services.scoring import score_calls
from signals.services.sweeps import open_premium_sweep
from signals.tasks import evaluate_tickers
from signals.tests.conftest import ALGORITHMS, NOON, candles_of, minutes_of, open_sweep

DAY = NOON.date()
SLOTS = 5
VERDICTS = 3 * ALGORITHMS * (CATCH_UP + SLOTS - 1)


@pytest.fixture
def judged(tickers: list[Ticker]) -> list[Ticker]:
    """Five sweeps over three tickers."""
    for number in range(SLOTS):
        sweep = open_sweep(NOON + timedelta(minutes=2 * number))
        evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)
    return tickers


def tamper(statement: str, *values: Any) -> int:
    """What only somebody with the database's own rights can do: past every trigger."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(statement, values)
        changed = int(cursor.rowcount)
        cursor.execute("SET LOCAL session_replication_role = origin")
    return changed


def test_an_untouched_day_has_no_differences(judged: list[Ticker]) -> None:
    found = replay_day(day=DAY)

    assert (found.compared, found.differing) == (VERDICTS, 0)
    assert (found.other_candles, found.other_version, found.holes, found.revisions) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("column", "value"), [("signal", "'SELL'"), ("value", "value + 1e-9"), ("price", "NULL"), ("reason", "'quiet'")]
)
def test_a_changed_verdict_is_found(judged: list[Ticker], column: str, value: str) -> None:
    one = SignalResult.objects.filter(is_call=False, value__isnull=False, signal="DO NOTHING").order_by("pk").first()
    assert one is not None
    assert tamper(f"UPDATE signals_signalresult SET {column} = {value} WHERE id = %s", one.pk) == 1  # noqa: S608

    found = replay_day(day=DAY)

    assert found.differing == 1
    [difference] = found.differences
    assert (difference.configuration_id, difference.ticker) == (one.configuration_id, one.ticker.symbol)
    assert difference.candle_closed_at == one.candle_closed_at
    assert column in difference.what


def test_a_changed_candle_is_found_in_every_verdict_that_rests_on_it(judged: list[Ticker]) -> None:
    changed = tamper(
        "UPDATE market_candle SET close = close * 1.001 WHERE ticker_id = %s AND timeframe = '2m' AND open_time = %s",
        judged[0].pk, NOON - timedelta(minutes=2),
    )  # fmt: skip
    assert changed == 1

    found = replay_day(day=DAY)

    # The candle that closed at noon: the verdict on it, and on each later one.
    assert found.differing == ALGORITHMS * SLOTS
    assert {one.what for one in found.differences} == {"its candles are others now, and none came later"}


def test_a_candle_that_came_in_after_the_verdict_explains_it(judged: list[Ticker]) -> None:
    Sweep.objects.update(started_at=NOON)
    Candle.objects.filter(ticker=judged[0], timeframe="2m", open_time=NOON - timedelta(minutes=2)).update(
        close=1.0, received_at=NOON + timedelta(hours=1)
    )

    found = replay_day(day=DAY)

    assert (found.differing, found.other_candles) == (0, ALGORITHMS * SLOTS)


def test_a_changed_call_is_found(judged: list[Ticker]) -> None:
    call = Call.objects.order_by("pk").first()
    assert call is not None
    tamper("UPDATE signals_call SET price = price * 1.01 WHERE id = %s", call.pk)

    found = replay_day(day=DAY)

    assert [one.what for one in found.differences] == ["call and verdict differ"]


def test_a_deleted_call_and_an_invented_one_are_found(judged: list[Ticker]) -> None:
    first, second = Call.objects.order_by("pk")[:2]
    tamper("DELETE FROM signals_call WHERE id = %s", first.pk)
    tamper("UPDATE signals_call SET candle_closed_at = candle_closed_at + interval '1 second' WHERE id = %s", second.pk)

    found = replay_day(day=DAY)

    assert sorted(one.what for one in found.differences) == [
        "the verdict turned, and there is no call",
        "the verdict turned, and there is no call",
        "there is a call and no verdict",
    ]


def test_verdicts_of_an_older_version_are_counted_and_not_compared(judged: list[Ticker]) -> None:
    Configuration.objects.filter(algorithm="rsi").update(version=99)

    found = replay_day(day=DAY)

    assert found.other_version == 3 * (CATCH_UP + SLOTS - 1)
    assert (found.compared, found.differing) == (VERDICTS - found.other_version, 0)


def test_a_deleted_verdict_is_a_hole(judged: list[Ticker]) -> None:
    tamper("DELETE FROM signals_signalresult WHERE candle_closed_at = %s AND NOT is_call", NOON)

    found = replay_day(day=DAY)

    assert found.holes == 3 * ALGORITHMS - Call.objects.filter(candle_closed_at=NOON).count()
    assert found.differing == 0


def test_revisions_of_the_exchange_are_counted(judged: list[Ticker]) -> None:
    rows = candles_of(judged[0]).rows[-1:] * np.array([1, 1, 1, 1, 1.01, 1])
    write_revisions([Block(judged[0].pk, "2m", rows)], seen_at=NOON)

    assert replay_day(day=DAY).revisions == 1


def test_a_premium_users_own_configuration_is_nobody_elses_business(judged: list[Ticker], alice: User) -> None:
    own = configuration_for(algorithm_id="rsi", timeframe="2m", parameters={"period": 21}, now=NOON)
    preference = AlgorithmPreferences.objects.create(
        user=alice, configuration=own, all_tickers=True, execution_frequency="*/2 * * * *"
    )
    sweep = open_premium_sweep(preference_id=preference.pk, slot=NOON, now=datetime.now(UTC))
    assert sweep is not None
    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)

    assert SignalResult.objects.filter(configuration=own).exists()
    assert replay_day(day=DAY).compared == VERDICTS


def test_only_the_wanted_tickers_are_replayed(judged: list[Ticker]) -> None:
    assert replay_day(day=DAY, tickers=["BTCUSDT"]).compared == VERDICTS // 3


def test_a_call_taken_away_with_its_mark_is_found(judged: list[Ticker]) -> None:
    call = Call.objects.order_by("-candle_closed_at").first()
    assert call is not None
    of_it = "configuration_id = %s AND ticker_id = %s AND candle_closed_at = %s"
    key = call.configuration_id, call.ticker_id, call.candle_closed_at
    tamper(f"UPDATE signals_signalresult SET is_call = false WHERE {of_it}", *key)  # noqa: S608
    tamper("DELETE FROM signals_call WHERE id = %s", call.pk)

    [difference] = replay_day(day=DAY).differences

    assert "is_call is False" in difference.what


@pytest.fixture
def scored(judged: list[Ticker]) -> list[Ticker]:
    """Their calls were published at noon, and have an outcome after an hour."""
    tamper("UPDATE signals_call SET published_at = slot")
    for number, ticker in enumerate(judged):
        rows = minutes_of(10 + number, until=NOON + timedelta(hours=3), count=150)
        write_candles([Block(ticker.pk, "1m", rows)], received_at=NOON)
    score_calls(market_now=NOON + timedelta(minutes=80), now=NOON + timedelta(minutes=80))
    return judged


def test_the_outcomes_of_the_day_are_scored_again(scored: list[Ticker]) -> None:
    found = replay_day(day=DAY)

    assert (found.outcomes, found.differing) == (Outcome.objects.count(), 0)
    assert found.outcomes > 0


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("net_return = 0.5", "not what its candles give"),
        ("hold_return = hold_return + 0.001", "not what its candles give"),
        ("exit_price = exit_price * 1.01", "not what its candles give"),
        (
            "entry_at = entry_at + interval '1 minute', exit_at = exit_at + interval '1 minute'",
            "not those after the call",
        ),
        (
            "status = 'unscorable', net_return = NULL, hold_return = NULL, reason = 'gone'",
            "both its candles were there",
        ),
    ],
)
def test_a_changed_outcome_is_found(scored: list[Ticker], change: str, what: str) -> None:
    tamper(f"UPDATE signals_outcome SET {change} WHERE id = (SELECT min(id) FROM signals_outcome)")  # noqa: S608

    [difference] = replay_day(day=DAY).differences

    assert what in difference.what


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"day": DAY - timedelta(days=1)}, "there are no verdicts of the central feed on 2026-11-19"),
        ({"day": DAY, "tickers": ["NOPE"]}, "there is no ticker NOPE"),
    ],
)
def test_nothing_to_replay_is_said(judged: list[Ticker], arguments: dict[str, object], message: str) -> None:
    with pytest.raises(NothingToReplay, match=message):
        replay_day(**arguments)  # type: ignore[arg-type]


def run(*arguments: str) -> tuple[int, str]:
    said = StringIO()
    try:
        call_command(*arguments, stdout=said)
    except SystemExit as ended:
        return int(str(ended.code)), said.getvalue()
    except CommandError as error:
        return error.returncode, str(error)
    return 0, said.getvalue()


def test_the_command_tells_and_ends_with_honest_codes(judged: list[Ticker]) -> None:
    whole = run("replay", "--day", DAY.isoformat())
    tamper("UPDATE signals_signalresult SET price = price + 1 WHERE NOT is_call AND candle_closed_at = %s", NOON)
    broken = run("replay", "--day", DAY.isoformat(), "--json")
    nothing = run("replay", "--day", "2020-01-01")

    assert (whole[0], whole[1].splitlines()[0].split(" (")[0]) == (
        0,
        f"{DAY}: 0 of {VERDICTS:,} verdicts differ; 0 outcomes scored again",
    )
    assert broken[0] == 1
    assert json.loads(broken[1])["differing"] == 3 * ALGORITHMS - Call.objects.filter(candle_closed_at=NOON).count()
    assert nothing == (2, "there are no verdicts of the central feed on 2020-01-01; they are kept for 30 days")
