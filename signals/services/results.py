"""Writing what a sweep found: one statement per task, the receipt first."""

from __future__ import annotations

import json
import re
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

# The verdicts' columns in WRITE, which are sent as arrays, and what they are in Postgres (docs/adr/0004).
COLUMNS = {
    "configuration_id": "bigint",
    "ticker_id": "bigint",
    "candle_closed_at": "timestamptz",
    "signal": "varchar",
    "value": "float8",
    "price": "float8",
    "reason": "varchar",
    "digest": "text",  # in hexadecimal digits
    "previous_signal": "varchar",
    "version": "integer",
    "is_call": "boolean",
    "is_newest": "boolean",
    "called_signal": "varchar",
    "called_at": "timestamptz",
}

# One statement is one transaction and one round trip.
# - Whoever inserts the receipt has done the ticker's work: the others, late or doubled, write nothing of it.
# - Rows are inserted in the order of their keys, and all results before the first newest verdict (its count forces that),
#   so that two feeds that write the same verdicts wait for one another instead of locking up.
WRITE = Statement(
    "write_outcomes",
    f"""
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
    SELECT given.*, decode(digest, 'hex') AS candles_digest
    FROM unnest({", ".join(f"%({name})s::{kind}[]" for name, kind in COLUMNS.items())}) WITH ORDINALITY
         AS given ({", ".join(COLUMNS)}, number)
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
       CASE WHEN (SELECT count(*) FROM result) < %(count)s THEN
           (SELECT coalesce(array_agg(number), '{{}}')
            FROM verdict JOIN result USING (configuration_id, ticker_id, candle_closed_at))
       END
""",  # noqa: S608  # put together of COLUMNS alone
    {
        "slot": "timestamptz",
        "sweep": "bigint",
        "now": "timestamptz",
        "published": "timestamptz",
        "count": "bigint",
        "receipts": "json",
        **{name: f"{kind}[]" for name, kind in COLUMNS.items()},
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
        "count": len(judgements),
        "receipts": msgspec.json.encode(_receipts(outcomes)).decode(),
        **_columns(judgements),
    }
    with connection.cursor() as cursor:
        WRITE.execute(cursor, values)
        receipts, numbers = cursor.fetchone()
    inserted = judgements if numbers is None else [judgements[number - 1] for number in sorted(numbers)]
    return Written(frozenset(receipts or ()), tuple(inserted))


def write_missing(*, plan: Plan, ticker_ids: Iterable[int], now: datetime) -> None:
    """Receipts that say no worker answered: a worker that answers after all finds them and writes nothing."""
    outcomes = [
        TickerOutcome(ticker_id, TickerRun.Status.MISSING, "no worker answered in time") for ticker_id in ticker_ids
    ]
    write_outcomes(plan=plan, outcomes=outcomes, now=now)


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


def _columns(judgements: Sequence[Judgement]) -> dict[str, str]:
    """COLUMNS of the judgements, each as the text of an array.

    Those of a pair come oldest first; the newest one also says what the pair last turned to.
    """
    rows = []
    called_signal, called_at = "", None
    for configuration, ticker_id, verdict, previous, candle_closed_at, is_call, is_newest in judgements:
        signal, _, _, value, price, reason, _, digest = verdict
        if is_call:
            called_signal, called_at = signal.value, candle_closed_at
        rows.append(
            (
                configuration.id,
                ticker_id,
                candle_closed_at,
                signal,
                value,
                price,
                reason,
                digest.hex(),
                previous,
                configuration.version,
                is_call,
                is_newest,
                called_signal,
                called_at,
            )
        )
        if is_newest:
            called_signal, called_at = "", None
    columns = zip(*rows, strict=True) if rows else [()] * len(COLUMNS)
    return {name: _array(column) for name, column in zip(COLUMNS, columns, strict=True)}


_ESCAPE = re.compile(r"\\u[0-9a-f]{4}|\\.")


def _array(column: Sequence[datetime | float | str | None]) -> str:
    """The column as the text of a Postgres array.

    That is a JSON array in other brackets, with the same quotes, numbers and null; but control characters stand for
    themselves.
    """
    text = msgspec.json.encode(column).decode()[1:-1]
    if "\\" in text:
        text = _ESCAPE.sub(lambda found: found[0] if found[0][1] in '"\\' else json.loads(f'"{found[0]}"'), text)
    return "{" + text + "}"
