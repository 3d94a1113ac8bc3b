"""What Postgres says: sweeps, verdicts, the market, and the database itself. A few bounded queries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Sum
from prometheus_client.metrics_core import Metric

from market.models import HeartbeatStatus
from signals.models import CENTRAL, LatestSignal, Sweep
from watch.metrics.families import counter, gauge, gauges
from watch.services.freshness import Freshness, candle_freshness, freshness

LATELY = timedelta(hours=1)
# Names that the processes give their connections; those of other programs, beyond so many, are counted together.
MOST_NAMES = 20


def look() -> list[Metric]:
    """Everything that is in Postgres. Raises django.db.DatabaseError."""
    now = datetime.now(UTC)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '2s'")
        status = HeartbeatStatus.objects.filter(exchange=settings.EXCHANGE).first()
        offset = timedelta(milliseconds=status.clock_offset_ms if status else 0)
        feed = freshness(now + offset)
        families = [*_feed(feed), *_sweeps(now + offset), *_server(now)]
        if feed.sweep is not None:
            families += _last_sweep(feed.sweep, offset)
        if status is not None:
            families += _market(status, now, now + offset)
        return families


def _feed(feed: Freshness) -> list[Metric]:
    age = (feed.at - feed.sweep.slot).total_seconds() if feed.sweep else None
    return [
        *gauge("sweep_age_seconds", "Since the slot of the last closed sweep of the central feed.", age),
        *gauge("sweep_period_seconds", "Between two slots of the central feed.", feed.period.total_seconds()),
    ]


def _last_sweep(sweep: Sweep, offset: timedelta) -> list[Metric]:
    """The last closed sweep of the central feed: its row, and its verdicts by signal."""
    tickers = {"ok": sweep.ok, "stale": sweep.stale, "failed": sweep.failed, "missing": sweep.missing}
    duration = None if sweep.duration_ms is None else sweep.duration_ms / 1000
    # `started_at` is our own clock's, the slot is the market's.
    delay = (sweep.started_at + offset - sweep.slot).total_seconds()
    return [
        *gauge("sweep_duration_seconds", "From the start of the last sweep to its last receipt.", duration),
        *gauge("sweep_start_delay_seconds", "From the slot of the last sweep to its start.", delay),
        *gauge("sweep_results", "Verdicts of the last sweep.", sweep.results),
        *gauge("sweep_calls", "Calls of the last sweep.", sweep.calls),
        *gauges("sweep_tickers", "Tickers of the last sweep.", "status", tickers),
        *gauges(
            "sweep_signals", "Verdicts of the last sweep that are still the newest.", "signal", _signals_of(sweep.pk)
        ),
    ]


@lru_cache(maxsize=1)
def _signals_of(sweep_id: int) -> dict[str, int]:
    """Signal -> verdicts, read once per sweep from the table that holds one row per configuration and ticker."""
    sweep = Sweep.objects.get(pk=sweep_id)
    wanted = LatestSignal.objects.filter(slot=sweep.slot, configuration__in=sweep.configuration_ids)
    return dict(wanted.values_list("signal").annotate(number=Count("pk")))


def _sweeps(at: datetime) -> list[Metric]:
    """The central feed's last hour, by the unique index on feed and slot; and what is open, by the index of those."""
    recent = Sweep.objects.central().filter(slot__gt=at - LATELY)
    by_status = dict.fromkeys(Sweep.Status.values, 0) | dict(recent.values_list("status").annotate(number=Count("pk")))
    calls = recent.aggregate(calls=Sum("calls"))["calls"]
    is_open = {
        "central": Sweep.objects.open().central().count(),
        "premium": Sweep.objects.open().exclude(feed=CENTRAL).count(),
    }
    return [
        *gauges("sweeps_last_hour", "Sweeps of the central feed in the last hour.", "status", by_status),
        *gauge("calls_last_hour", "Calls of the central feed in the last hour.", calls or 0),
        *gauges("sweeps_open", "Sweeps that are not closed yet.", "feed", is_open),
    ]


def _market(status: HeartbeatStatus, now: datetime, at: datetime) -> list[Metric]:
    ages = {one.timeframe: one.age.total_seconds() for one in candle_freshness(status.watermarks, at)}
    return [
        *gauges("candle_age_seconds", "Since the close of the newest complete candle.", "timeframe", ages),
        *gauge("exchange_connected", "Whether the exchange's stream is connected.", status.is_connected),
        *gauge("exchange_silence_seconds", "Since the exchange's last message.", status.age(now)),
        *gauge(
            "heartbeat_age_seconds", "Since the heartbeat last reported.", (now - status.updated_at).total_seconds()
        ),
        *gauge("clock_offset_seconds", "The exchange's clock minus ours.", status.clock_offset_ms / 1000),
        *gauge("tickers_followed", "Tickers whose candles are collected.", status.tickers),
        *counter("exchange_reconnects", "Times the stream was opened again.", status.reconnects),
        *counter("candles_backfilled", "Candles fetched because the stream missed them.", status.backfilled_candles),
        *counter("candles_revised", "Candles the exchange gave another value later.", status.revised_candles),
        *counter("exchange_malformed", "Messages of the exchange that could not be read.", status.malformed_frames),
    ]


def _server(now: datetime) -> list[Metric]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(nullif(application_name, ''), 'unnamed'), count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() GROUP BY 1 ORDER BY 2 DESC"
        )
        rows: list[tuple[str, int]] = cursor.fetchall()
        cursor.execute("SELECT current_setting('max_connections')::int")
        most: int = cursor.fetchone()[0]
    named = dict(rows[:MOST_NAMES])
    if rest := sum(number for _, number in rows[MOST_NAMES:]):
        named["others"] = named.get("others", 0) + rest
    return [
        *gauges("database_connections", "Connections to our database, by process.", "process", named),
        *gauge("database_max_connections", "Connections that Postgres allows to all databases.", most),
        *gauge("database_size_bytes", "Our database on disk.", _size(int(now.timestamp() // 60))),
    ]


@lru_cache(maxsize=1)
def _size(minute: int) -> int:
    """Bytes, asked once a minute: Postgres looks at each of the thousands of files of the partitions."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchone()[0])
