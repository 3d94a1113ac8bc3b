"""Documents of the record, nights, links of the ledger and a pair with calls, for the tests of its pages."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
from django.test import Client
from django_celery_results.models import TaskResult

from engine.stats import FEW, Tally, distribution, summarise, total
from market import clock
from market.models import Ticker
from signals.models import (
    Call,
    CentralSpan,
    Configuration,
    Horizon,
    LedgerEntry,
    Outcome,
    Record,
    RecordCell,
    Signal,
)
from signals.services.evaluation import to_ms
from signals.services.record import (
    PARITY_TASK,
    DayJson,
    DistributionJson,
    Grouping,
    RecordJson,
    RowJson,
    Side,
)

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
FEE = 0.001


def tally(returns: Sequence[float], *, repeated: int = 20, unscorable: int = 0, pending: int = 0) -> Tally:
    """Of these net returns, each `repeated` times, no two of which overlap; holding gave a tenth of a per cent less."""
    net = np.tile(np.asarray(returns, dtype=np.float64), repeated)
    return Tally.of(net, net - 0.001, np.ones(len(net), dtype=np.bool_), unscorable, pending)


def row(key: str, tally: Tally, *, label: str = "", detail: str = "", is_running: bool = True) -> RowJson:
    return RowJson(key, label or key, detail, is_running, summarise(tally), tally.net_sum)


GOOD = tally([0.02, 0.01, -0.005], unscorable=3, pending=2)
BAD = tally([-0.03, 0.004, -0.01])
FEW_CALLS = tally([0.5], repeated=FEW - 1)


def document(
    rows: Sequence[RowJson] | None = None,
    *,
    by: Grouping = Grouping.ALGORITHM,
    side: Side = Side.ALL,
    horizon: int = 240,
    is_simulated: bool = True,
) -> RecordJson:
    """A record of a good, a bad and retired, and a hardly seen algorithm, over two months."""
    whole = total([GOOD, BAD, FEW_CALLS])
    edges = list(range(-500, 501, 25))
    default = [
        row("rsi", GOOD, label="RSI"),
        row("macd", BAD, label="MACD", is_running=False),
        row("adx", FEW_CALLS, label="ADX / DMI"),
    ]
    return RecordJson(
        v=1,
        exchange="simulated" if is_simulated else "binance",
        is_simulated=is_simulated,
        horizon=horizon,
        side=side,
        by=by,
        fee_rate=FEE,
        few=FEW,
        built_at=to_ms(NOON),
        since=to_ms(NOON - timedelta(days=40)),
        until=to_ms(NOON - timedelta(hours=1)),
        total=summarise(whole),
        rows=default if rows is None else list(rows),
        months=[row("2026-10", BAD), row("2026-11", GOOD)],
        cumulative=[
            DayJson(to_ms(NOON.replace(hour=0) - timedelta(days=back)), 0.4 - back / 10, -back / 20)
            for back in range(9, -1, -1)
        ],
        distribution=DistributionJson(edges, distribution(whole, edges)),
    )


def publish(record: RecordJson) -> Record:
    """Writes a page of the record as `build_documents` does."""
    return Record.objects.create(
        horizon=record.horizon,
        side=record.side,
        grouping=record.by,
        document=msgspec.to_builtins(record),
        built_at=NOON,
    )


def night(day: date, *, differing: int = 0, is_done: bool = True) -> TaskResult:
    """The replay of a day, as django-celery-results keeps it."""
    found = {
        "day": day.isoformat(),
        "compared": 1_440_000,
        "differing": differing,
        "other_candles": 2,
        "other_version": 0,
        "holes": 1,
        "revisions": 4,
        "outcomes": 7,
        "exchange": "simulated",
        "seconds": 41.5,
    }
    result = TaskResult.objects.create(
        task_id=f"night of {day}",
        task_name=PARITY_TASK,
        status="SUCCESS" if is_done else "FAILURE",
        result=json.dumps(found),
    )
    done_at = datetime(day.year, day.month, day.day, 2, 30, tzinfo=UTC) + timedelta(days=1)
    TaskResult.objects.filter(pk=result.pk).update(date_done=done_at)
    return result


def seal(days: int) -> list[LedgerEntry]:
    """Links of the ledger up to the day before NOON's, oldest first."""
    return [
        LedgerEntry.objects.create(
            day=NOON.date() - timedelta(days=back),
            calls=100 + back,
            previous_digest=f"{back + 1:064x}",
            digest=f"{back:064x}",
            made_at=NOON,
        )
        for back in range(days, 0, -1)
    ]


def run_centrally(configuration: Configuration, *, since: datetime) -> CentralSpan:
    return CentralSpan.objects.update_or_create(configuration=configuration, until=None, defaults={"since": since})[0]


def call(configuration: Configuration, ticker: Ticker, closed_at: datetime, **values: Any) -> Call:
    return Call.objects.create(
        configuration=configuration,
        ticker=ticker,
        candle_closed_at=closed_at,
        slot=closed_at,
        published_at=closed_at + timedelta(seconds=2, milliseconds=345),
        **{
            "signal": Signal.BUY,
            "previous_signal": Signal.DO_NOTHING,
            "value": 29.1234,
            "price": 64_123.4,
            "candles_digest": bytes(range(16)),
            "algorithm_version": configuration.version,
        }
        | values,
    )


def outcome(of: Call, horizon: Horizon, net: float | None, *, reason: str = "") -> Outcome:
    """What became of a call; without a return it is unscorable."""
    entry_at = of.published_at.replace(second=0, microsecond=0) + timedelta(minutes=1)
    is_scored = net is not None
    return Outcome.objects.create(
        call=of,
        horizon=horizon,
        status=Outcome.Status.SCORED if is_scored else Outcome.Status.UNSCORABLE,
        reason=reason,
        entry_at=entry_at,
        exit_at=entry_at + timedelta(minutes=horizon),
        entry_price=64_000.0 if is_scored else None,
        exit_price=64_500.0 if is_scored else None,
        fee_rate=FEE,
        net_return=net,
        hold_return=net,
        scored_at=NOON,
    )


def cell(configuration: Configuration, ticker: Ticker, horizon: Horizon, of: Tally) -> RecordCell:
    names = [field for field in Tally.__dataclass_fields__ if field != "bins"]
    return RecordCell.objects.create(
        configuration=configuration,
        ticker=ticker,
        month=date(2026, 11, 1),
        horizon=horizon,
        signal=Signal.BUY,
        bins=list(of.bins),
        counts=list(of.bins.values()),
        **{name: getattr(of, name) for name in names},
    )


def lately(minutes: int = 60) -> datetime:
    """A whole minute that is past: an hour is old enough to be public."""
    return (clock.now() - timedelta(minutes=minutes)).replace(second=0, microsecond=0)


def words(html: str) -> str:
    """What stands on a page, without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def read(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return words(response.content.decode())
