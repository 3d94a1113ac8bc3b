"""From outcomes to the public record: tallies by configuration, ticker and month, and the pages made of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from django.conf import settings
from django.db import connection

from engine.compare import Bools
from engine.stats import Int64s, Tally, apart
from market.copying import copy_rows, unhurried
from signals.models import Call, CentralSpan, Horizon, RecordCell, RecordDay, Signal
from signals.services.evaluation import from_ms, to_ms
from signals.services.scoring import LATEST_PUBLICATION

BATCH = 2_000

# Each public call of a month with its outcome at one horizon. Those of a pair by time: spans are chosen in that order.
_OUTCOMES = """
SELECT call.configuration_id, call.ticker_id, (call.signal = 'BUY')::int::bigint,
       (extract(epoch FROM call.candle_closed_at) * 1000)::bigint,
       CASE outcome.status WHEN 'scored' THEN 2 WHEN 'unscorable' THEN 1 ELSE 0 END::bigint,
       coalesce(extract(epoch FROM outcome.entry_at) * 1000, 0)::bigint,
       coalesce(extract(epoch FROM outcome.exit_at) * 1000, 0)::bigint,
       coalesce(outcome.net_return, 'NaN'), coalesce(outcome.hold_return, 'NaN')
FROM signals_call AS call
JOIN signals_centralspan AS span ON span.configuration_id = call.configuration_id
    AND call.slot >= span.since AND (span.until IS NULL OR call.slot < span.until)
JOIN market_ticker AS ticker ON ticker.id = call.ticker_id AND ticker.exchange = %s
LEFT JOIN signals_outcome AS outcome ON outcome.call_id = call.id AND outcome.horizon = %s
WHERE call.candle_closed_at >= %s AND call.candle_closed_at < %s AND call.published_at <= %s
    AND call.configuration_id = %s
ORDER BY call.configuration_id, call.ticker_id, outcome.entry_at, call.id
"""
_COLUMNS = dict.fromkeys(("configuration", "ticker", "is_buy", "closed_ms", "status", "entry_ms", "exit_ms"), "i8")
_COLUMNS |= {"net": "f8", "hold": "f8"}
_SCORED, _UNSCORABLE = 2, 1

DAY_MS = 86_400_000
# A call is public from the very instant in which it is as old as the delay.
_INSTANT = timedelta(microseconds=1)
Columns = dict[str, npt.NDArray[Any]]


def rebuild_months(*, at: datetime, everything: bool = False) -> list[date]:
    """Makes the cells anew of the months that can still change (of all that have calls); returns those months.

    `at` is the market's time; calls that strangers do not see yet are left out. Two at once take turns.
    """
    until = at - settings.PUBLIC_DELAY
    first = Call.objects.order_by("candle_closed_at").values_list("candle_closed_at", flat=True).first()
    if first is None or first > until:
        return []
    since = first if everything else min(_first_open(first), until - LATEST_PUBLICATION)
    months = list(_months(max(first, since), until))
    for month in months:  # in order: whether a span overlaps another may depend on the month before
        for horizon in Horizon.values:
            _rebuild(month, horizon, until)
    return months


def _first_open(first: datetime) -> datetime:
    """The beginning of the first month that can still change: the newest that has cells, or one whose calls are pending.

    Where this exchange has no cells, all is made anew: what another one's left behind must not stay in any sum.
    """
    cells = RecordCell.objects.filter(ticker__exchange=settings.EXCHANGE)
    newest = cells.order_by("-month").values_list("month", flat=True).first()
    if newest is None:
        return first
    pending = cells.filter(pending__gt=0).order_by("month").values_list("month", flat=True).first()
    month = min(newest, pending or newest)
    return datetime(month.year, month.month, 1, tzinfo=UTC)


def _months(since: datetime, until: datetime) -> Iterator[date]:
    month = since.astimezone(UTC).date().replace(day=1)
    while month <= until.astimezone(UTC).date():
        yield month
        month = _next(month)


def _next(month: date) -> date:
    return (month + timedelta(days=32)).replace(day=1)


def _rebuild(month: date, horizon: int, until: datetime) -> None:
    """Makes the cells of a month anew; one configuration at a time, since a month of all may be too much to hold."""
    first, end = (datetime(day.year, day.month, 1, tzinfo=UTC) for day in (month, _next(month)))
    configurations = list(
        CentralSpan.objects.order_by("configuration").values_list("configuration", flat=True).distinct()
    )
    with unhurried(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('record'))")
        RecordCell.objects.filter(month=month, horizon=horizon).delete()
        RecordDay.objects.filter(day__gte=first.date(), day__lt=end.date(), horizon=horizon).delete()
        for configuration in configurations:
            outcomes = copy_rows(
                _OUTCOMES,
                [settings.EXCHANGE, horizon, first, min(end, until + _INSTANT), until, configuration],
                _COLUMNS,
            )
            is_apart = _apart(outcomes, _busy_until(month, horizon, configuration))
            RecordCell.objects.bulk_create(_cells(outcomes, is_apart, month, horizon), batch_size=BATCH)
            RecordDay.objects.bulk_create(_days(outcomes, horizon), batch_size=BATCH)


def _busy_until(month: date, horizon: int, configuration: int) -> dict[int, int]:
    """Of each ticker, when the last chosen span of the month before ended: ms since 1970."""
    before = (month - timedelta(days=1)).replace(day=1)
    cells = RecordCell.objects.filter(month=before, horizon=horizon, configuration=configuration)
    ends: dict[int, int] = {}
    for ticker, end in cells.exclude(apart_until=None).values_list("ticker_id", "apart_until"):
        assert end is not None
        ends[ticker] = max(to_ms(end), ends.get(ticker, 0))
    return ends


def _apart(outcomes: Columns, busy_until: dict[int, int]) -> Bools:
    """Which outcomes of a configuration are scored and overlap no other chosen one of their ticker, BUY or SELL."""
    is_scored = outcomes["status"] == _SCORED
    tickers, group = np.unique(outcomes["ticker"][is_scored], return_inverse=True)
    busy = np.array([busy_until.get(ticker, 0) for ticker in tickers.tolist()], dtype=np.int64)
    chosen = np.zeros(len(is_scored), dtype=np.bool_)
    chosen[is_scored] = apart(
        group.astype(np.int64), outcomes["entry_ms"][is_scored], outcomes["exit_ms"][is_scored], busy[group]
    )
    return chosen


def _cells(outcomes: Columns, is_apart: Bools, month: date, horizon: int) -> Iterator[RecordCell]:
    order = np.lexsort((outcomes["is_buy"], outcomes["ticker"], outcomes["configuration"]))
    sorted_ = {name: column[order] for name, column in outcomes.items()}
    chosen = is_apart[order]
    for part in _parts(sorted_["configuration"], sorted_["ticker"], sorted_["is_buy"]):
        status = sorted_["status"][part]
        is_scored = status == _SCORED
        net, hold = sorted_["net"][part][is_scored], sorted_["hold"][part][is_scored]
        unscorable, pending = int((status == _UNSCORABLE).sum()), int((status == 0).sum())
        ends = sorted_["exit_ms"][part][chosen[part]]
        yield _cell(
            Tally.of(net, hold, chosen[part][is_scored], unscorable, pending),
            configuration_id=int(sorted_["configuration"][part.start]),
            ticker_id=int(sorted_["ticker"][part.start]),
            signal=Signal.BUY if sorted_["is_buy"][part.start] else Signal.SELL,
            month=month,
            horizon=horizon,
            apart_until=from_ms(int(ends.max())) if len(ends) else None,
        )


def _parts(*keys: Int64s) -> Iterator[slice]:
    """The stretches over which all keys stay the same."""
    count = len(keys[0])
    if not count:
        return
    changes = np.zeros(count, dtype=np.bool_)
    changes[0] = True
    for key in keys:
        changes[1:] |= key[1:] != key[:-1]
    starts = np.flatnonzero(changes).tolist()
    for start, end in zip(starts, [*starts[1:], count], strict=True):
        yield slice(start, end)


def _cell(tally: Tally, **identity: Any) -> RecordCell:
    sums = {name: getattr(tally, name) for name in tally.__slots__ if name != "bins"}
    return RecordCell(**sums, bins=list(tally.bins), counts=list(tally.bins.values()), **identity)


def _days(outcomes: Columns, horizon: int) -> Iterator[RecordDay]:
    is_scored = outcomes["status"] == _SCORED
    scored = {name: column[is_scored] for name, column in outcomes.items()}
    day = scored["closed_ms"] // DAY_MS
    order = np.lexsort((scored["is_buy"], day, scored["configuration"]))
    for part in _parts(scored["configuration"][order], day[order], scored["is_buy"][order]):
        of_part = order[part]
        yield RecordDay(
            configuration_id=int(scored["configuration"][of_part[0]]),
            day=from_ms(int(day[of_part[0]]) * DAY_MS).date(),
            horizon=horizon,
            signal=Signal.BUY if scored["is_buy"][of_part[0]] else Signal.SELL,
            scored=len(of_part),
            net_sum=float(scored["net"][of_part].sum()),
            hold_sum=float(scored["hold"][of_part].sum()),
        )
