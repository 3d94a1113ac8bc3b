"""Writing what a sweep found: one statement per task, the receipt first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from django.db import connection

from market.partitions import PartitionedTable, ensure_partition
from market.statements import Statement
from signals.models import TickerRun
from signals.services.evaluation import Judgement, Plan, TickerOutcome

RESULTS = PartitionedTable("signals_signalresult", "day")
# Nobody writes later than this after the slot: messages expire, and late slots are of the last hour.
LATEST = timedelta(days=1)
RECEIPTS = PartitionedTable("signals_tickerrun", "day")

# One statement is one transaction and one round trip; two JSON documents are several times cheaper to send than arrays.
# - Whoever inserts the receipt has done the ticker's work: the others, late or doubled, write nothing of it.
# - Rows are inserted in the order of their keys, and all results before the first newest verdict (its count forces that),
#   so that two feeds that write the same verdicts wait for one another instead of locking up.
WRITE = Statement(
    "write_outcomes",
    """
WITH receipt AS (
    INSERT INTO signals_tickerrun
        (slot, sweep_id, ticker_id, status, error, results, calls, holes, duration_ms, finished_at)
    SELECT %(slot)s, %(sweep)s, ticker_id, status, error, results, calls, holes, duration_ms, %(now)s
    FROM json_to_recordset(%(receipts)s) AS given (
        ticker_id bigint, status varchar, error varchar, results smallint, calls smallint, holes smallint,
        duration_ms float8)
    ORDER BY ticker_id
    ON CONFLICT DO NOTHING
    RETURNING ticker_id
), verdict AS MATERIALIZED (
    SELECT given.* FROM json_to_recordset(%(verdicts)s) AS given (
        number integer, configuration_id bigint, ticker_id bigint, candle_closed_at timestamptz, signal varchar,
        value float8, price float8, reason varchar, candles_digest bytea, previous_signal varchar, version integer,
        is_call boolean, is_newest boolean, called_signal varchar, called_at timestamptz)
    JOIN receipt USING (ticker_id)
    ORDER BY candle_closed_at, configuration_id, ticker_id
), result AS (
    INSERT INTO signals_signalresult
        (slot, configuration_id, ticker_id, candle_closed_at, signal, is_call, value, price, reason, candles_digest)
    SELECT %(slot)s, configuration_id, ticker_id, candle_closed_at, signal, is_call, value, price, reason, candles_digest
    FROM verdict
    ON CONFLICT DO NOTHING
    RETURNING configuration_id, ticker_id, candle_closed_at
), call AS (
    INSERT INTO signals_call
        (slot, published_at, configuration_id, ticker_id, candle_closed_at, signal, previous_signal, value, price,
         candles_digest, algorithm_version)
    SELECT %(slot)s, %(published)s, configuration_id, ticker_id, candle_closed_at, signal, previous_signal, value, price,
           candles_digest, version
    FROM verdict JOIN result USING (configuration_id, ticker_id, candle_closed_at)
    WHERE is_call
    ON CONFLICT DO NOTHING
), latest AS (
    INSERT INTO signals_latestsignal AS latest
        (slot, configuration_id, ticker_id, candle_closed_at, signal, value, price, reason, called_signal, called_at)
    SELECT %(slot)s, configuration_id, ticker_id, candle_closed_at, signal, value, price, reason, called_signal, called_at
    FROM verdict
    WHERE is_newest AND (SELECT count(*) FROM result) >= 0
    ORDER BY configuration_id, ticker_id
    ON CONFLICT (configuration_id, ticker_id) DO UPDATE SET
        slot = excluded.slot, candle_closed_at = excluded.candle_closed_at, signal = excluded.signal,
        value = excluded.value, price = excluded.price, reason = excluded.reason,
        called_signal = CASE WHEN excluded.called_at IS NULL THEN latest.called_signal ELSE excluded.called_signal END,
        called_at = coalesce(excluded.called_at, latest.called_at)
    WHERE latest.candle_closed_at < excluded.candle_closed_at
)
SELECT (SELECT array_agg(ticker_id) FROM receipt),
       (SELECT array_agg(number) FROM verdict JOIN result USING (configuration_id, ticker_id, candle_closed_at))
""",
    {
        "slot": "timestamptz",
        "sweep": "bigint",
        "now": "timestamptz",
        "published": "timestamptz",
        "receipts": "json",
        "verdicts": "json",
    },
)


class _Receipt(msgspec.Struct):
    """A row of `receipts` in WRITE."""

    ticker_id: int
    status: str
    error: str
    results: int
    calls: int
    holes: int
    duration_ms: float


class _Verdict(msgspec.Struct):
    """A row of `verdicts` in WRITE. `number` is its place among them."""

    number: int
    configuration_id: int
    ticker_id: int
    candle_closed_at: datetime
    signal: str
    value: float | None
    price: float | None
    reason: str
    candles_digest: str
    previous_signal: str
    version: int
    is_call: bool
    is_newest: bool = False
    called_signal: str = ""
    called_at: datetime | None = None


class Written(NamedTuple):
    """What one task's statement added."""

    receipts: frozenset[int]  # the tickers whose receipt is ours
    inserted: tuple[Judgement, ...]  # their verdicts that nobody had written before, oldest first


def write_outcomes(
    *, plan: Plan, outcomes: Sequence[TickerOutcome], now: datetime, market_now: datetime | None = None
) -> Written:
    """Writes receipts, verdicts, newest verdicts and calls, all or nothing; safe to repeat and to race.

    `market_now`, the market's time, is when calls are published (default: the slot): candles after it decide about them.
    """
    judgements = [judgement for outcome in outcomes for judgement in outcome.judgements]
    ensure_partition(RECEIPTS, plan.slot)
    for day in {judgement.candle_closed_at.date(): judgement.candle_closed_at for judgement in judgements}.values():
        ensure_partition(RESULTS, day)
    values: dict[str, datetime | int | str] = {
        "slot": plan.slot,
        "sweep": plan.sweep_id,
        "now": now,
        # A clock that was measured a moment ago may still be behind the slot; a wrong one must not stop the sweep.
        "published": min(max(plan.slot, market_now or plan.slot), plan.slot + LATEST),
        "receipts": _document(_receipts(outcomes)),
        "verdicts": _document(_verdicts(judgements)),
    }
    with connection.cursor() as cursor:
        WRITE.execute(cursor, values)
        receipts, inserted = cursor.fetchone()
    return Written(frozenset(receipts or ()), tuple(judgements[number] for number in sorted(inserted or ())))


def write_missing(*, plan: Plan, ticker_ids: Iterable[int], now: datetime) -> None:
    """Receipts that say no worker answered: a worker that answers after all finds them and writes nothing."""
    outcomes = [
        TickerOutcome(ticker_id, TickerRun.Status.MISSING, "no worker answered in time") for ticker_id in ticker_ids
    ]
    write_outcomes(plan=plan, outcomes=outcomes, now=now)


def _document(rows: Sequence[msgspec.Struct]) -> str:
    return msgspec.json.encode(rows).decode()


def _receipts(outcomes: Iterable[TickerOutcome]) -> list[_Receipt]:
    return [
        _Receipt(
            outcome.ticker_id,
            outcome.status.value,
            outcome.error,
            len(outcome.judgements),
            sum(judgement.is_call for judgement in outcome.judgements),
            outcome.holes,
            outcome.duration_ms,
        )
        for outcome in outcomes
    ]


def _verdicts(judgements: Iterable[Judgement]) -> list[_Verdict]:
    """The rows, those of each pair oldest first; the newest one of a pair also says what it last turned to."""
    rows: list[_Verdict] = []
    newest: dict[tuple[int, int], _Verdict] = {}
    for number, (configuration, ticker_id, verdict, previous, candle_closed_at, is_call) in enumerate(judgements):
        row = _Verdict(
            number,
            configuration.id,
            ticker_id,
            candle_closed_at,
            verdict.signal.value,
            verdict.value,
            verdict.price,
            verdict.reason,
            "\\x" + verdict.candles_digest.hex(),
            previous.value,
            configuration.version,
            is_call,
        )
        pair = configuration.id, ticker_id
        if (older := newest.get(pair)) is not None:
            row.called_signal, row.called_at = older.called_signal, older.called_at
        if is_call:
            row.called_signal, row.called_at = row.signal, candle_closed_at
        newest[pair] = row
        rows.append(row)
    for row in newest.values():
        row.is_newest = True
    return rows
