"""Postgres and the two Redis servers."""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from redis import Redis

from engine.candles import TIMEFRAMES
from live.lifespan import THREADS, URGENT_THREADS
from market.models import HeartbeatStatus, Ticker
from market.store import STORE_BYTES
from watch.metrics.stores import queue_state, queues
from watch.services import stores
from workers.connections import SPARE_CONNECTIONS, most_connections
from workers.doctor.check import Check, Doubtful, Failed
from workers.queues import RECORD_PATIENCE

DATABASE, LIVE, BROKER = "database", "live store", "broker"
POSTGRES = 180_000
# What Redis needs around a value of 48 kB, and to write it anew before the old one is gone.
STORE_OVERHEAD = 1.25
FULL = 0.8
# Seconds that the message whose turn is next may have waited. In the queue `record` it waits for tasks of hours.
QUEUE_MAY_BE_OLD = 60.0
MAY_BE_OLD = {"record": RECORD_PATIENCE}
# The web's own role sees of other roles' connections neither the type nor more than that they are in a database.
COUNT_CONNECTIONS = """
SELECT current_setting('max_connections')::int, count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' OR backend_type IS NULL AND datid IS NOT NULL
"""


def database() -> str:
    connection.ensure_connection()
    version = connection.cursor().connection.server_version
    words = f"Postgres {version // 10_000}.{version % 10_000}"
    if version < POSTGRES:
        raise Doubtful(f"{words}: tested with 18 only", "Move to Postgres 18.")
    return words


def migrations() -> str:
    executor = MigrationExecutor(connection)
    wanted = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if wanted:
        names = [f"{migration.app_label}.{migration.name}" for migration, _ in wanted]
        raise Failed(f"{len(names)} not applied: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}")
    return "all applied"


def connections() -> str:
    with connection.cursor() as cursor:
        cursor.execute(COUNT_CONNECTIONS)
        most, now = cast("tuple[int, int]", cursor.fetchone())
    words = f"{now} of {most} connections in use"
    if most - now < SPARE_CONNECTIONS:
        raise Failed(words)
    wanted = sum(
        most_connections(
            requests_at_once=settings.WEB_REQUESTS_AT_ONCE, socket_threads=THREADS + URGENT_THREADS
        ).values()
    )
    if most - wanted < SPARE_CONNECTIONS:
        raise Doubtful(f"{words}; one process of each kind may open {wanted}, and {SPARE_CONNECTIONS} must stay free")
    if now > FULL * most:
        raise Doubtful(words)
    return words


def live_store() -> str:
    info = _info(stores.live())
    # Timeframes that nobody uses are not held; before the heartbeat has said which, it may be all.
    timeframes = _timeframes()
    tickers = Ticker.objects.active().count() if timeframes else 0
    needed = int(tickers * len(timeframes or TIMEFRAMES) * STORE_BYTES * STORE_OVERHEAD)
    _refuse_eviction(info, "LIVE")
    limit = info["maxmemory"]
    if limit and limit < needed:
        raise Failed(
            f"{_mb(limit)} are too little for the candles of {tickers} tickers, which need {_mb(needed)}",
            f"Set LIVE_MAXMEMORY={_mb(2 * needed).replace(' ', '').lower()}, or follow fewer tickers (Universe).",
        )
    if limit and info["used_memory"] > FULL * limit:
        raise Doubtful(f"{_mb(info['used_memory'])} of {_mb(limit)} are used", "Raise LIVE_MAXMEMORY.")
    return f"{_mb(info['used_memory'])} of {_mb(limit) if limit else 'all memory'}; {_mb(needed)} are room enough for the candles"


def _timeframes() -> list[str]:
    try:
        status = HeartbeatStatus.objects.filter(exchange=settings.EXCHANGE).first()
    except Exception:  # noqa: BLE001 (the database has a check of its own)
        return []
    return list(status.watermarks) if status else []


def broker() -> str:
    info = _info(stores.broker())
    _refuse_eviction(info, "BROKER")
    if not info["aof_enabled"]:
        raise Doubtful("tasks are lost when it restarts", "Start it with appendonly yes.")
    return f"{_mb(info['used_memory'])} used, append-only"


def _info(server: Redis) -> dict[str, Any]:
    found: dict[str, Any] = server.info()
    return found


def _refuse_eviction(info: dict[str, Any], name: str) -> None:
    policy = info.get("maxmemory_policy", "")
    if policy != "noeviction":
        raise Failed(
            f"it throws keys away when memory is short (maxmemory-policy {policy})",
            f"Start the server behind {name}_URL with maxmemory-policy noeviction.",
        )


def waiting_tasks() -> str:
    found = {queue: queue_state(queue) for queue in queues()}
    words = ", ".join(f"{queue} {length}" for queue, (length, _) in found.items())
    old = [
        f"{queue} ({age:.0f} s)"
        for queue, (_, age) in found.items()
        if age and age > MAY_BE_OLD.get(queue, QUEUE_MAY_BE_OLD)
    ]
    if old:
        raise Failed(f"tasks wait too long in {', '.join(old)}")
    return f"waiting: {words}"


def _mb(size: float) -> str:
    return f"{size / 1e6:.0f} MB"


CHECKS = (
    Check(DATABASE, database, "Start Postgres (`make run` does), or mend DATABASE_URL."),
    Check("migrations", migrations, "Run manage.py migrate.", needs=(DATABASE,)),
    Check("connections", connections, "Raise max_connections, or put PgBouncer in front.", needs=(DATABASE,)),
    Check(LIVE, live_store, "Start the live Redis (`make run` does), or mend LIVE_URL."),
    Check(BROKER, broker, "Start the broker's Redis (`make run` does), or mend BROKER_URL."),
    Check("queues", waiting_tasks, "Start workers, or more of them: --scale worker=N", needs=(BROKER,)),
)
