"""The public record as the pages read it: documents made by `build_record`, the nights of parity, the calls of a pair.

Everything here is about the central feed on this installation's exchange. Instants are milliseconds since 1970 UTC,
returns fractions after fees, horizons minutes. Exports are these very structures as JSON.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

import msgspec
from django.conf import settings
from django.db.models import F, Prefetch, Q, QuerySet
from django_celery_results.models import TaskResult

from engine import registry
from engine.stats import Summary, Tally, summarise, total
from market.models import Ticker
from signals.models import Call, CentralSpan, Configuration, LedgerEntry, Outcome, Record, RecordCell
from signals.services.evaluation import to_ms

PARITY_TASK = "signals.tasks.replay_day"
PARITY_NIGHTS = 30


class Side(StrEnum):
    """Which calls a record is about. A SELL is scored as the move avoided."""

    ALL = "all"
    BUY = "buy"
    SELL = "sell"


class Grouping(StrEnum):
    """What a row of a record stands for."""

    ALGORITHM = "algorithm"
    CONFIGURATION = "configuration"
    TICKER = "ticker"
    TIMEFRAME = "timeframe"
    MONTH = "month"


class RowJson(msgspec.Struct):
    """One row: `key` is stable (an algorithm's id, a configuration's number, a symbol, 2m, 2026-11)."""

    key: str
    label: str
    detail: str  # a configuration's version, timeframe and parameters; else empty
    is_running: bool  # in the central feed when this was built
    summary: Summary
    total_net: float  # the sum of net returns: what equal stakes on each call gave together


class DayJson(msgspec.Struct):
    """A step of the cumulative line: sums up to the end of that UTC day."""

    day: int
    net: float
    hold: float


class DistributionJson(msgspec.Struct):
    """How many net returns lie below the first edge, between each two, and from the last one on; edges in basis points."""

    edges: list[int]
    counts: list[int]


class RecordJson(msgspec.Struct):
    """A page of the record: signals.models.Record.document."""

    v: Literal[1]
    exchange: str
    is_simulated: bool
    horizon: int
    side: Side
    by: Grouping
    fee_rate: float  # of each side, as a fraction
    few: int  # calls that do not overlap under which there is too little to say
    built_at: int
    since: int | None  # when the first candle that was called closed, and the last one
    until: int | None
    total: Summary
    rows: list[RowJson]
    months: list[RowJson]  # oldest first
    cumulative: list[DayJson]  # oldest first
    distribution: DistributionJson


class NightJson(msgspec.Struct):
    """What a night's replay of one day found. `differing` must be 0, of verdicts, calls and outcomes; the rest says what could not be compared."""

    day: str
    finished_at: int
    is_done: bool  # false: the replay failed, and `detail` says how
    compared: int = 0
    differing: int = 0
    other_candles: int = 0
    other_version: int = 0
    holes: int = 0
    revisions: int = 0
    outcomes: int = 0
    seconds: float = 0.0
    detail: str = ""


class LedgerJson(msgspec.Struct):
    """One link of the ledger."""

    day: str
    calls: int
    previous_digest: str
    digest: str
    made_at: int


class OutcomeJson(msgspec.Struct):
    """What became of a call; prices and returns are None where it is unscorable, and `reason` says why."""

    horizon: int
    status: str
    reason: str
    entry_at: int
    exit_at: int
    entry_price: float | None
    exit_price: float | None
    fee_rate: float
    net_return: float | None
    hold_return: float | None


class CallRecordJson(msgspec.Struct):
    """A call with all that made it, and what became of it so far; a horizon without an outcome is pending."""

    id: int
    exchange: str
    ticker: str
    algorithm: str
    version: int
    timeframe: str
    parameters: dict[str, Any]
    configuration: str  # digest
    signal: str
    previous_signal: str
    candle_closed_at: int
    slot: int
    published_at: int
    price: float
    value: float | None
    candles_digest: str
    outcomes: list[OutcomeJson]


class PairRecord(msgspec.Struct):
    """The record of one algorithm on one ticker: a summary by horizon, all configurations together."""

    algorithm: str
    algorithm_name: str
    value_label: str
    ticker: str
    ticker_id: int
    is_delisted: bool
    timeframe: str  # of its newest configuration
    tick_size: float
    summaries: dict[int, Summary]


def load_record(*, horizon: int, side: Side, by: Grouping) -> RecordJson | None:
    """The record as it was last built, or None before the first time."""
    found = Record.objects.filter(horizon=horizon, side=side, grouping=by).first()
    return None if found is None else msgspec.convert(found.document, RecordJson)


def parity_nights(*, limit: int = PARITY_NIGHTS) -> list[NightJson]:
    """The newest nights' replays, newest first, as django-celery-results keeps them."""
    kept = TaskResult.objects.filter(task_name=PARITY_TASK, status__in=["SUCCESS", "FAILURE"], date_done__isnull=False)
    nights: dict[str, NightJson] = {}
    for result in kept.order_by("-date_done")[: 4 * limit]:
        if f'"exchange": "{settings.EXCHANGE}"' not in (result.result or "") and result.status == "SUCCESS":
            continue  # of another market, before this one
        night = _night(result)
        nights.setdefault(night.day, night)  # a day replayed again: the newest says how it is
    return sorted(nights.values(), key=lambda night: night.day, reverse=True)[:limit]


def _night(result: TaskResult) -> NightJson:
    finished_at = to_ms(result.date_done)
    if result.status == "SUCCESS":
        return msgspec.convert(
            json.loads(result.result) | {"finished_at": finished_at, "is_done": True, "detail": ""}, NightJson
        )
    asked = re.search(r"\d{4}-\d\d-\d\d", result.task_kwargs or "")  # else it was the day before
    day = asked[0] if asked else f"{result.date_done - timedelta(days=1):%Y-%m-%d}"
    return NightJson(day=day, finished_at=finished_at, is_done=False, detail="the replay did not end well")


def ledger(*, limit: int | None = None) -> list[LedgerJson]:
    """The links of the hash chain, newest first."""
    entries = LedgerEntry.objects.order_by("-day")[:limit]
    return [
        LedgerJson(one.day.isoformat(), one.calls, one.previous_digest, one.digest, to_ms(one.made_at))
        for one in entries
    ]


def public_calls(*, at: datetime) -> QuerySet[Call]:
    """The calls the record is about: of a configuration while the central feed ran it, as late as strangers see them."""
    span = "configuration__central_spans"
    of_feed = Q(slot__gte=F(f"{span}__since")) & (Q(**{f"{span}__until": None}) | Q(slot__lt=F(f"{span}__until")))
    return Call.objects.filter(
        of_feed,
        ticker__exchange=settings.EXCHANGE,
        candle_closed_at__lte=at - settings.PUBLIC_DELAY,
        published_at__lte=at - settings.PUBLIC_DELAY,  # a late one is as new to those who pay
    )


def pair_record(*, algorithm: str, ticker: str, at: datetime) -> PairRecord | None:
    """The record of an algorithm on a ticker, or None where the central feed never ran the one or knows not the other."""
    row = Ticker.objects.filter(exchange=settings.EXCHANGE, symbol=ticker).first()
    configurations = list(
        Configuration.objects.filter(algorithm=algorithm, central_spans__isnull=False)
        .select_related("algorithm")
        .order_by("pk")
        .distinct()
    )
    if row is None or not configurations:
        return None
    running = {
        span.configuration_id for span in CentralSpan.objects.filter(configuration__in=configurations, until=None)
    }
    newest = max(configurations, key=lambda one: (one.pk in running, one.pk))
    tallies: dict[int, list[Tally]] = {}
    for cell in RecordCell.objects.filter(configuration__in=configurations, ticker=row):
        tallies.setdefault(cell.horizon, []).append(cell.tally)
    return PairRecord(
        algorithm=algorithm,
        algorithm_name=newest.algorithm.name,
        value_label=next((one.value_label for one in registry.all_algorithms() if one.id == algorithm), "value"),
        ticker=ticker,
        ticker_id=row.pk,
        is_delisted=row.status == Ticker.Status.DELISTED,
        timeframe=newest.timeframe,
        tick_size=float(row.tick_size),
        summaries={horizon: summarise(total(parts)) for horizon, parts in sorted(tallies.items())},
    )


def pair_calls(
    *, algorithm: str, ticker: str, at: datetime, limit: int, before: datetime | None = None
) -> list[CallRecordJson]:
    """The newest `limit` public calls of an algorithm on a ticker (of candles that closed before `before`)."""
    calls = public_calls(at=at).filter(configuration__algorithm=algorithm, ticker__symbol=ticker)
    if before is not None:
        calls = calls.filter(candle_closed_at__lt=before)
    return call_records(calls.order_by("-candle_closed_at", "-pk")[:limit])


def call_records(calls: QuerySet[Call]) -> list[CallRecordJson]:
    """The calls with all that made them and what became of them: three queries."""
    outcomes = Prefetch("outcomes", Outcome.objects.order_by("horizon"))
    return [_call(one) for one in calls.select_related("configuration", "ticker").prefetch_related(outcomes)]


def _call(call: Call) -> CallRecordJson:
    configuration = call.configuration
    return CallRecordJson(
        id=call.pk,
        exchange=call.ticker.exchange,
        ticker=call.ticker.symbol,
        algorithm=configuration.algorithm_id,
        version=call.algorithm_version,
        timeframe=configuration.timeframe,
        parameters=configuration.parameters,
        configuration=configuration.digest,
        signal=call.signal,
        previous_signal=call.previous_signal,
        candle_closed_at=to_ms(call.candle_closed_at),
        slot=to_ms(call.slot),
        published_at=to_ms(call.published_at),
        price=call.price,
        value=call.value,
        candles_digest=bytes(call.candles_digest).hex(),
        outcomes=[_outcome(one) for one in call.outcomes.all()],
    )


def _outcome(outcome: Outcome) -> OutcomeJson:
    return OutcomeJson(
        horizon=outcome.horizon,
        status=outcome.status,
        reason=outcome.reason,
        entry_at=to_ms(outcome.entry_at),
        exit_at=to_ms(outcome.exit_at),
        entry_price=outcome.entry_price,
        exit_price=outcome.exit_price,
        fee_rate=outcome.fee_rate,
        net_return=outcome.net_return,
        hold_return=outcome.hold_return,
    )
