"""Writing what a sweep found: one transaction per task, the receipt first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from market.partitions import PartitionedTable, ensure_partition
from signals.models import TickerRun
from signals.services.evaluation import Judgement, Plan, TickerOutcome

RESULTS = PartitionedTable("signals_signalresult", "day")
RECEIPTS = PartitionedTable("signals_tickerrun", "day")

Key = tuple[int, int, datetime]  # configuration, ticker, candle_closed_at

# Whoever inserts the receipt has done the ticker's work: the others, late or doubled, write nothing of it.
INSERT_RECEIPTS = """
INSERT INTO signals_tickerrun
    (slot, sweep_id, ticker_id, status, error, results, calls, holes, duration_ms, finished_at)
SELECT %s, %s, ticker_id, status, error, results, calls, holes, duration_ms, %s
FROM unnest(%s::bigint[], %s::varchar[], %s::varchar[], %s::smallint[], %s::smallint[], %s::smallint[], %s::float8[])
    AS given (ticker_id, status, error, results, calls, holes, duration_ms)
ON CONFLICT DO NOTHING
RETURNING ticker_id
"""

INSERT_RESULTS = """
INSERT INTO signals_signalresult
    (slot, configuration_id, ticker_id, candle_closed_at, signal, value, price, reason, candles_digest)
SELECT %s, * FROM unnest(
    %s::bigint[], %s::bigint[], %s::timestamptz[], %s::varchar[], %s::float8[], %s::float8[], %s::varchar[], %s::bytea[])
ON CONFLICT DO NOTHING
RETURNING configuration_id, ticker_id, candle_closed_at
"""

UPSERT_LATEST = """
INSERT INTO signals_latestsignal AS latest
    (slot, configuration_id, ticker_id, candle_closed_at, signal, value, price, reason, called_signal, called_at)
SELECT %s, * FROM unnest(
    %s::bigint[], %s::bigint[], %s::timestamptz[], %s::varchar[], %s::float8[], %s::float8[], %s::varchar[],
    %s::varchar[], %s::timestamptz[])
ON CONFLICT (configuration_id, ticker_id) DO UPDATE SET
    slot = excluded.slot, candle_closed_at = excluded.candle_closed_at, signal = excluded.signal,
    value = excluded.value, price = excluded.price, reason = excluded.reason,
    called_signal = CASE WHEN excluded.called_at IS NULL THEN latest.called_signal ELSE excluded.called_signal END,
    called_at = coalesce(excluded.called_at, latest.called_at)
WHERE latest.candle_closed_at < excluded.candle_closed_at
"""

INSERT_CALLS = """
INSERT INTO signals_call
    (slot, published_at, configuration_id, ticker_id, candle_closed_at, signal, previous_signal, value, price,
     candles_digest, algorithm_version)
SELECT %s, %s, * FROM unnest(
    %s::bigint[], %s::bigint[], %s::timestamptz[], %s::varchar[], %s::varchar[], %s::float8[], %s::float8[],
    %s::bytea[], %s::integer[])
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Written:
    """What one task's transaction added."""

    receipts: frozenset[int]  # the tickers whose receipt is ours
    judged: tuple[Judgement, ...]  # their verdicts, oldest first; of some another feed may have been the writer
    inserted: tuple[Judgement, ...]  # those of them that nobody had written before


def write_outcomes(*, plan: Plan, outcomes: Sequence[TickerOutcome], now: datetime) -> Written:
    """Writes receipts, verdicts, newest verdicts and calls in one transaction; safe to repeat and to race."""
    judgements = [judgement for outcome in outcomes for judgement in outcome.judgements]
    ensure_partition(RECEIPTS, plan.slot)
    for day in {judgement.candle_closed_at.date(): judgement.candle_closed_at for judgement in judgements}.values():
        ensure_partition(RESULTS, day)
    with transaction.atomic():
        mine = _insert_receipts(plan, outcomes, now)
        # Sorted, so that two feeds that write the same verdicts wait for one another instead of locking up.
        ours = sorted((one for one in judgements if one.ticker_id in mine), key=_key)
        inserted = _insert_results(plan, ours)
        _upsert_latest(plan, ours)
        new = tuple(one for one in ours if _key(one) in inserted)
        _insert_calls(plan, [one for one in new if one.is_call], now)
    return Written(receipts=mine, judged=tuple(ours), inserted=new)


def write_missing(*, plan: Plan, ticker_ids: Iterable[int], now: datetime) -> None:
    """Receipts that say no worker answered: a worker that answers after all finds them and writes nothing."""
    outcomes = [
        TickerOutcome(ticker_id, TickerRun.Status.MISSING, "no worker answered in time") for ticker_id in ticker_ids
    ]
    write_outcomes(plan=plan, outcomes=outcomes, now=now)


def _key(judgement: Judgement) -> Key:
    return judgement.configuration.pk, judgement.ticker_id, judgement.candle_closed_at


def _execute(query: str, first: list[Any], rows: Iterable[tuple[Any, ...]], returning: bool) -> list[tuple[Any, ...]]:
    columns = [list(column) for column in zip(*rows, strict=True)]
    if not columns:
        return []
    with connection.cursor() as cursor:
        cursor.execute(query, [*first, *columns])
        return cursor.fetchall() if returning else []


def _insert_receipts(plan: Plan, outcomes: Sequence[TickerOutcome], now: datetime) -> frozenset[int]:
    rows = [
        (
            outcome.ticker_id,
            outcome.status.value,
            outcome.error,
            len(outcome.judgements),
            sum(judgement.is_call for judgement in outcome.judgements),
            outcome.holes,
            outcome.duration_ms,
        )
        for outcome in sorted(outcomes, key=lambda outcome: outcome.ticker_id)
    ]
    returned = _execute(INSERT_RECEIPTS, [plan.slot, plan.sweep_id, now], rows, returning=True)
    return frozenset(ticker_id for (ticker_id,) in returned)


def _insert_results(plan: Plan, judgements: Sequence[Judgement]) -> set[Key]:
    rows = [
        (
            *_key(one),
            one.verdict.signal.value,
            one.verdict.value,
            one.verdict.price,
            one.verdict.reason,
            one.verdict.candles_digest,
        )
        for one in judgements
    ]
    return set(_execute(INSERT_RESULTS, [plan.slot], rows, returning=True))


def _upsert_latest(plan: Plan, judgements: Sequence[Judgement]) -> None:
    newest: dict[tuple[int, int], Judgement] = {}
    called: dict[tuple[int, int], Judgement] = {}
    for one in judgements:  # oldest first
        pair = (one.configuration.pk, one.ticker_id)
        newest[pair] = one
        if one.is_call:
            called[pair] = one
    rows = []
    for pair, one in newest.items():
        call = called.get(pair)
        rows.append(
            (
                *_key(one),
                one.verdict.signal.value,
                one.verdict.value,
                one.verdict.price,
                one.verdict.reason,
                call.verdict.signal.value if call else "",
                call.candle_closed_at if call else None,
            )
        )
    _execute(UPSERT_LATEST, [plan.slot], rows, returning=False)


def _insert_calls(plan: Plan, judgements: Sequence[Judgement], now: datetime) -> None:
    rows = [
        (
            *_key(one),
            one.verdict.signal.value,
            one.previous.value,
            one.verdict.value,
            one.verdict.price,
            one.verdict.candles_digest,
            one.configuration.version,
        )
        for one in judgements
    ]
    _execute(INSERT_CALLS, [plan.slot, now], rows, returning=False)
