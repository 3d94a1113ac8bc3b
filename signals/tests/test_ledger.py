"""The hash chain over the public calls."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from pytest_django import Settings

from market.models import Ticker
from signals.models import AlgorithmPreferences, Call, Configuration, LedgerEntry
from signals.services.ledger import FIELDS, GENESIS, check_ledger, lines_of, write_ledger
from signals.services.record import ledger
from signals.tests.conftest import NOON, open_sweep
from signals.tests.test_parity import run, tamper
from signals.tests.test_spans import call_at

DAY = NOON.date()


@pytest.fixture
def rsi(tickers: list[Ticker]) -> Configuration:
    open_sweep(NOON - timedelta(minutes=2))
    return AlgorithmPreferences.objects.central().get(configuration__algorithm="rsi").configuration


@pytest.fixture
def three_days(rsi: Configuration, tickers: list[Ticker]) -> list[LedgerEntry]:
    """Two calls on the first day, none on the second, one on the third; and one that is not over yet."""
    for hours in (0, 11, 24 * 2, 24 * 3):
        call_at(rsi, tickers[0], NOON + timedelta(hours=hours))
    return write_ledger(market_now=NOON + timedelta(days=3), now=NOON)


def test_each_day_that_is_over_has_a_link(three_days: list[LedgerEntry]) -> None:
    assert [(one.day, one.calls) for one in three_days] == [
        (DAY, 2), (DAY + timedelta(days=1), 0), (DAY + timedelta(days=2), 1),
    ]  # fmt: skip
    assert [one.previous_digest for one in three_days] == [GENESIS, three_days[0].digest, three_days[1].digest]
    assert [fault for _, fault in check_ledger()] == ["", "", ""]


def test_the_digest_is_what_a_shell_computes_from_the_published_text(three_days: list[LedgerEntry]) -> None:
    text = "".join(lines_of(DAY))

    assert three_days[0].digest == hashlib.sha256(f"{GENESIS}\n{text}".encode()).hexdigest()
    first = dict(zip(FIELDS, text.splitlines()[0].split("|"), strict=True))
    call = Call.objects.order_by("pk").first()
    assert call is not None
    assert first == {
        "id": str(call.pk), "exchange": "simulated", "ticker": "BTCUSDT", "configuration": call.configuration.digest,
        "version": "1", "signal": "BUY", "previous_signal": "DO NOTHING",
        "candle_closed_at": "2026-11-20T12:00:00.000000Z", "slot": "2026-11-20T12:00:00.000000Z",
        "published_at": "2026-11-20T12:00:00.000000Z", "price": "1", "value": "", "candles_digest": "00" * 16,
    }  # fmt: skip


def test_writing_it_again_adds_nothing_and_later_only_what_came(three_days: list[LedgerEntry]) -> None:
    assert write_ledger(market_now=NOON + timedelta(days=3), now=NOON) == []

    [added] = write_ledger(market_now=NOON + timedelta(days=4), now=NOON)

    assert (added.calls, added.previous_digest) == (1, three_days[-1].digest)


def test_a_day_waits_until_all_of_it_is_committed(three_days: list[LedgerEntry]) -> None:
    midnight = datetime.combine(DAY + timedelta(days=4), datetime.min.time(), UTC)

    assert write_ledger(market_now=midnight + timedelta(minutes=14), now=NOON) == []
    assert len(write_ledger(market_now=midnight + timedelta(minutes=15), now=NOON)) == 1


def test_a_wrong_clock_of_a_real_market_seals_no_day_that_is_not_over(
    three_days: list[LedgerEntry], settings: Settings
) -> None:
    settings.IS_SIMULATED = False
    now = datetime.combine(DAY + timedelta(days=4), datetime.min.time(), UTC)

    assert write_ledger(market_now=now + timedelta(days=365), now=now) == []


@pytest.mark.parametrize("published_at", [NOON - timedelta(microseconds=1), NOON + timedelta(days=3)])
def test_no_call_can_be_dated_into_a_day_whose_text_does_not_have_it(
    rsi: Configuration, tickers: list[Ticker], published_at: datetime
) -> None:
    call_at(rsi, tickers[0], NOON)

    with pytest.raises(IntegrityError, match="in_order"), transaction.atomic():
        tamper("UPDATE signals_call SET published_at = %s", published_at)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE signals_call SET signal = 'SELL' WHERE id = %s",
        "UPDATE signals_call SET price = 1.0000000000000002 WHERE id = %s",
        "UPDATE signals_call SET published_at = published_at + interval '1 microsecond' WHERE id = %s",
        "DELETE FROM signals_call WHERE id = %s",
    ],
)
def test_a_rewritten_call_is_found(three_days: list[LedgerEntry], change: str) -> None:
    call = Call.objects.order_by("pk").first()
    assert call is not None
    assert tamper(change, call.pk) == 1

    faults = [fault for _, fault in check_ledger()]

    assert "the ledger has 2 calls" in faults[0]
    assert faults[1:] == ["", ""]  # they continue the digest that was written, which stands


def test_a_day_made_anew_breaks_the_chain_behind_it(three_days: list[LedgerEntry]) -> None:
    tamper("DELETE FROM signals_call WHERE id = (SELECT min(id) FROM signals_call)")
    forged = hashlib.sha256(f"{GENESIS}\n{''.join(lines_of(DAY))}".encode()).hexdigest()
    tamper("UPDATE signals_ledgerentry SET digest = %s, calls = 1 WHERE day = %s", forged, DAY)

    faults = [fault for _, fault in check_ledger()]

    assert faults[0] == ""
    assert faults[1].startswith(f"it continues {three_days[0].digest[:12]}")


def test_a_day_taken_out_is_found(three_days: list[LedgerEntry]) -> None:
    tamper("DELETE FROM signals_ledgerentry WHERE day = %s", DAY + timedelta(days=1))

    assert "days are missing" in [fault for _, fault in check_ledger()][1]


@pytest.mark.parametrize("statement", ["UPDATE signals_ledgerentry SET calls = 9", "DELETE FROM signals_ledgerentry"])
def test_a_link_cannot_be_changed(three_days: list[LedgerEntry], statement: str) -> None:
    with pytest.raises(DatabaseError, match="for ever"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)

    assert [one.calls for one in LedgerEntry.objects.order_by("day")] == [2, 0, 1]


def test_the_command_says_what_stands(three_days: list[LedgerEntry]) -> None:
    whole = run("verify_ledger")
    tamper("UPDATE signals_call SET price = 2 WHERE id = (SELECT min(id) FROM signals_call)")
    broken = run("verify_ledger", "--json")

    assert whole[0] == 0
    assert "all 3 days stand" in whole[1]
    assert broken[0] == 1
    assert [bool(day["fault"]) for day in json.loads(broken[1])["days"]] == [True, False, False]


def test_without_a_ledger_the_command_says_so(tickers: list[Ticker]) -> None:
    assert run("verify_ledger") == (2, "there is no ledger yet: a day enters it when it is over")


def test_a_kept_copy_is_compared_day_by_day(three_days: list[LedgerEntry], tmp_path: Path) -> None:
    copy = tmp_path / "ledger.json"
    entries = [{"day": one.day, "digest": one.digest} for one in ledger()]
    copy.write_bytes(msgspec.json.encode({"entries": entries}))
    same = run("verify_ledger", "--kept", str(copy))
    entries[1]["digest"] = "f" * 64
    copy.write_bytes(msgspec.json.encode({"entries": [*entries, {"day": "2020-01-01", "digest": GENESIS}]}))
    other = run("verify_ledger", "--kept", str(copy))
    copy.write_text("{}")
    no_copy = run("verify_ledger", "--kept", str(copy))

    assert same[0] == 0
    assert (other[0], "made anew since" in other[1], "in the copy, and gone" in other[1]) == (1, True, True)
    assert no_copy == (2, f"{copy} is no copy of /record/ledger.json")


def test_the_text_comes_in_parts_that_make_the_whole(three_days: list[LedgerEntry]) -> None:
    whole = list(lines_of(DAY))
    first = list(lines_of(DAY, limit=1))

    rest = list(lines_of(DAY, after=int(first[0].partition("|")[0]), limit=1))

    assert first + rest == whole
