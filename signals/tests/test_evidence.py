"""`verify_call`: one call, computed again."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from market.candles import Block, write_candles
from market.models import Candle, Ticker
from signals.models import Call
from signals.services.evidence import verify_call
from signals.services.scoring import score_calls
from signals.tasks import evaluate_tickers
from signals.tests.conftest import NOON, minutes_of, open_sweep
from signals.tests.test_parity import run, tamper


@pytest.fixture
def call(tickers: list[Ticker]) -> Call:
    """A call with its outcome after an hour; what the task wrote was published at noon."""
    sweep = open_sweep(NOON)
    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)
    call = Call.objects.filter(ticker=tickers[0]).order_by("candle_closed_at").last()
    assert call is not None
    tamper("UPDATE signals_call SET published_at = %s WHERE id = %s", NOON, call.pk)
    write_candles(
        [Block(tickers[0].pk, "1m", minutes_of(7, until=NOON + timedelta(hours=3), count=150))], received_at=NOON
    )
    score_calls(market_now=NOON + timedelta(minutes=62), now=NOON)
    return call


def test_a_call_and_its_outcome_are_confirmed(call: Call) -> None:
    found = verify_call(call_id=call.pk)

    assert found.is_confirmed
    assert {check.name for check in found.checks} == {
        "candles", "signal", "previous signal", "price", "value",
        "1 h: entry at", "1 h: exit at", "1 h: entry", "1 h: exit", "1 h: net return",
    }  # fmt: skip
    assert all(check.is_same for check in found.checks)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (("UPDATE signals_call SET signal = CASE signal WHEN 'BUY' THEN 'SELL' ELSE 'BUY' END, "
         "previous_signal = 'DO NOTHING' WHERE id = %s"), "signal"),
        ("UPDATE signals_call SET price = price * 2 WHERE id = %s", "price"),
        ("UPDATE signals_call SET published_at = published_at + interval '1 minute' WHERE id = %s", "1 h: entry at"),
        ("UPDATE signals_outcome SET net_return = 0.5 WHERE call_id = %s", "1 h: net return"),
        ("UPDATE signals_outcome SET entry_price = entry_price / 2 WHERE call_id = %s", "1 h: entry"),
    ],
)  # fmt: skip
def test_whatever_was_changed_is_named(call: Call, change: str, name: str) -> None:
    assert tamper(change, call.pk) == 1

    found = verify_call(call_id=call.pk)

    assert not found.is_confirmed
    assert name in {check.name for check in found.checks if not check.is_same}


def test_a_changed_candle_is_named(call: Call) -> None:
    Candle.objects.filter(
        ticker=call.ticker, timeframe="2m", open_time=call.candle_closed_at - timedelta(minutes=2)
    ).update(high=1e9)

    found = verify_call(call_id=call.pk)

    assert "candles" in {check.name for check in found.checks if not check.is_same}


def test_a_call_of_an_older_version_is_not_called_confirmed(call: Call) -> None:
    tamper("UPDATE signals_call SET algorithm_version = 99 WHERE id = %s", call.pk)

    found = verify_call(call_id=call.pk)

    assert not found.is_confirmed
    assert "made by version 99" in found.obstacle


def test_the_command_shows_the_inputs_and_ends_with_honest_codes(call: Call) -> None:
    whole = run("verify_call", str(call.pk))
    as_json = run("verify_call", str(call.pk), "--json")
    tamper("UPDATE signals_call SET price = price * 2 WHERE id = %s", call.pk)
    broken = run("verify_call", str(call.pk))
    unknown = run("verify_call", "999999999")

    assert (whole[0], whole[1].splitlines()[-1]) == (0, "confirmed")
    assert json.loads(as_json[1])["is_confirmed"] is True
    assert (broken[0], "NOT CONFIRMED" in broken[1]) == (1, True)
    assert unknown == (2, "there is no call 999999999")
