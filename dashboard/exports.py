"""The record as CSV. Numbers are plain, instants ISO 8601 in UTC; every line says which market it is of."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields

import msgspec

from dashboard.numbers import iso
from engine.stats import Summary
from signals.models import Horizon
from signals.services.record import CallRecordJson, OutcomeJson, RecordJson

# What a spreadsheet would run as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

_RECORD_COLUMNS = [
    *("exchange", "is_simulated", "horizon", "side", "by", "fee_rate", "built_at"),
    *("key", "label", "detail", "is_running"),
    *(one.name for one in fields(Summary)),
    "total_net",
]

_CALL_COLUMNS = [
    *("exchange", "is_simulated", "horizon", "side", "id", "ticker", "algorithm", "version", "timeframe", "parameters"),
    *("configuration", "previous_signal", "candle_closed_at", "slot", "published_at", "price", "value"),
    *("candles_digest", "status", "reason", "entry_at", "exit_at", "entry_price", "exit_price", "fee_rate"),
    *("net_return", "hold_return"),
]


def record_csv(record: RecordJson) -> str:
    """One line for each row of the record."""
    of_all = [
        *(record.exchange, record.is_simulated, record.horizon, record.side.value, record.by.value, record.fee_rate),
        iso(record.built_at),
    ]
    return _csv(
        _RECORD_COLUMNS,
        (
            [*of_all, row.key, row.label, row.detail, row.is_running, *asdict(row.summary).values(), row.total_net]
            for row in record.rows
        ),
    )


def calls_csv(calls: Sequence[CallRecordJson], *, is_simulated: bool) -> str:
    """One line for each call and horizon; `side` is what was called, a horizon without an outcome is pending."""
    return _csv(
        _CALL_COLUMNS,
        (
            [
                *(call.exchange, is_simulated, horizon.value, call.signal.lower(), call.id, call.ticker),
                *(call.algorithm, call.version, call.timeframe, msgspec.json.encode(call.parameters).decode()),
                *(call.configuration, call.previous_signal, iso(call.candle_closed_at), iso(call.slot)),
                *(iso(call.published_at), call.price, call.value, call.candles_digest),
                *_outcome(next((one for one in call.outcomes if one.horizon == horizon.value), None)),
            ]
            for call in calls
            for horizon in Horizon
        ),
    )


def _outcome(outcome: OutcomeJson | None) -> list[object]:
    if outcome is None:
        return ["pending", *[None] * 8]
    return [
        *(outcome.status, outcome.reason, iso(outcome.entry_at), iso(outcome.exit_at)),
        *(outcome.entry_price, outcome.exit_price, outcome.fee_rate, outcome.net_return, outcome.hold_return),
    ]


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_safe(value) for value in row] for row in rows)
    return text.getvalue()


def _safe(value: object) -> object:
    """Text that a spreadsheet would take for a formula gets an apostrophe before it; numbers stay what they are."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
