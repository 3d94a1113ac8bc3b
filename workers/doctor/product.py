"""The processes and their work: beat, workers, heartbeat, sweeps, web."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import requests
from celery import current_app
from django.conf import settings
from django_celery_beat.models import PeriodicTask
from kombu.exceptions import KombuError

from engine import registry
from market.models import HeartbeatStatus, Ticker, Universe
from signals.models import Algorithm, AlgorithmPreferences
from signals.services.sweeps import CENTRAL_TASK_NAME
from watch.metrics.stores import queues
from watch.probe import UNREACHABLE
from watch.services.freshness import candle_freshness, freshness, market_freshness
from watch.task_counters import last_mark
from workers.doctor.check import Check, Doubtful, Failed
from workers.doctor.stores import BROKER, DATABASE, LIVE

# It sends `close_sweeps` every five seconds.
BEAT_MAY_BE_SILENT = 30.0  # seconds
# A product that has just been started has its first slot after a period at most, and has closed it so long after that.
FIRST_SWEEP_TAKES = timedelta(seconds=60)
BACKFILL_TAKES = timedelta(minutes=3)
LARGE_OFFSET = timedelta(seconds=1)
NEEDED_ROWS = (CENTRAL_TASK_NAME, "close sweeps")


def rows() -> str:
    """What bootstrap makes."""
    known = set(Algorithm.objects.values_list("pk", flat=True))
    lacking = [one.id for one in registry.all_algorithms() if one.id not in known]
    if lacking or not Universe.objects.filter(exchange=settings.EXCHANGE).exists():
        raise Failed(f"some are missing ({', '.join(lacking) or 'the universe'})")
    running = AlgorithmPreferences.objects.central().count()
    if not running:
        raise Failed("no algorithm is in the central feed", "Enable one in the admin, under Algorithms.")
    return f"{running} algorithms in the central feed, {Ticker.objects.active().count()} tickers"


def schedules() -> str:
    enabled = set(PeriodicTask.objects.filter(enabled=True).values_list("name", flat=True))
    lacking = [name for name in NEEDED_ROWS if name not in enabled]
    if lacking:
        raise Failed(f"not enabled: {', '.join(lacking)}")
    return f"{len(enabled)} enabled"


def beat() -> str:
    sent_at = last_mark("beat")
    if sent_at is None:
        raise Failed("it has sent nothing since the live store was started")
    age = time.time() - sent_at
    if age > BEAT_MAY_BE_SILENT:
        raise Failed(f"it has sent nothing for {age:.0f} s")
    return f"sent something {max(age, 0):.0f} s ago"


def workers() -> str:
    """Who answers, and whether every queue has somebody."""
    answers = current_app.control.inspect(timeout=2.0).active_queues() or {}
    served = {queue["name"] for taken in answers.values() for queue in taken}
    lacking = [queue for queue in queues() if queue not in served]
    if lacking:
        raise Failed(f"nobody takes tasks from {', '.join(lacking)}; {len(answers)} workers answer")
    return f"{', '.join(sorted(answers))} answer"


def heartbeat() -> str:
    now = datetime.now(UTC)
    reason = market_freshness(now).reason
    if reason:
        raise Failed(reason)
    status = HeartbeatStatus.objects.get(exchange=settings.EXCHANGE)
    return f"{status.tickers} tickers, {status.reconnects} reconnects"


def clock() -> str:
    """Our clock against the exchange's: slots follow the exchange's, so the product works, but the logs lie."""
    offset = _offset()
    words = f"ours is {abs(offset.total_seconds()):.1f} s {'behind' if offset > timedelta(0) else 'ahead of'} the exchange's"
    if abs(offset) > LARGE_OFFSET and not settings.IS_SIMULATED:
        raise Doubtful(words)
    return words


def candles() -> str:
    status = HeartbeatStatus.objects.filter(exchange=settings.EXCHANGE).first()
    if status is None or not status.watermarks:
        wait = "Wait for the backfill: the heartbeat's log says how far it is."
        raise _lacking("none are complete yet", wait, BACKFILL_TAKES, later=wait)
    found = candle_freshness(status.watermarks, datetime.now(UTC) + _offset())
    late = [one.reason for one in found if one.reason]
    if late:
        raise Failed("; ".join(late))
    ages = ", ".join(f"those of {one.timeframe} {one.age.total_seconds():.0f} s ago" for one in found)
    return f"complete; the newest closed, {ages}"


def last_sweep() -> str:
    feed = freshness(datetime.now(UTC) + _offset())
    if feed.sweep is None:
        wait = f"Wait: the next one is due at {feed.next_slot:%H:%M:%S} UTC."
        raise _lacking(feed.reason, wait, feed.period + FIRST_SWEEP_TAKES)
    if feed.reason:
        raise Failed(feed.reason)
    sweep = feed.sweep
    words = f"{sweep.slot:%H:%M:%S} UTC: {sweep.tickers} tickers in {sweep.duration_ms} ms, {sweep.results} verdicts"
    if sweep.failed or sweep.missing:
        raise Doubtful(
            f"{words}; {sweep.failed} tickers failed, {sweep.missing} are missing",
            "The admin's Ticker runs say why each failed; missing ones had no worker.",
        )
    return words


def _lacking(words: str, wait: str, grace: timedelta, later: str = "") -> Failed:
    """What a product may lack that was first started so lately is a doubt, with the remedy `wait`; then it is a failure."""
    age = _age()
    if age is not None and age < grace:
        return Doubtful(f"starting, for {age.total_seconds():.0f} s: {words}", wait)
    return Failed(words, later)


def _age() -> timedelta | None:
    """How long the oldest worker has been running; None where none answers."""
    try:
        answers = current_app.control.inspect(timeout=2.0).stats() or {}
    except (*UNREACHABLE, KombuError):
        return None
    return max((timedelta(seconds=one["uptime"]) for one in answers.values() if "uptime" in one), default=None)


def _offset() -> timedelta:
    status = HeartbeatStatus.objects.filter(exchange=settings.EXCHANGE).first()
    return timedelta(milliseconds=status.clock_offset_ms if status else 0)


def web() -> str:
    """By the address that people use, hence through the proxy."""
    address = f"{settings.PUBLIC_URL}/readyz/web"
    try:
        answer = requests.get(address, timeout=5)
        reason = str(answer.json()["reason"])
    except requests.JSONDecodeError as problem:
        raise Failed(f"another server answers {address}") from problem
    except requests.RequestException as problem:
        raise Failed(f"{address} does not answer ({type(problem).__name__})") from problem
    if answer.status_code != 200:
        raise Failed(reason)
    return f"{address} is ready"


CHECKS = (
    Check("rows", rows, "Run manage.py bootstrap.", needs=(DATABASE, "migrations")),
    Check("schedules", schedules, "Enable them in the admin, under Periodic tasks.", needs=(DATABASE, "migrations")),
    Check("beat", beat, "Start beat, or look at its log.", needs=(LIVE,)),
    Check("workers", workers, "Start the workers, or look at their logs.", needs=(BROKER,)),
    Check(
        "heartbeat",
        heartbeat,
        "Start the heartbeat, or look at its log: is the exchange reachable?",
        needs=(DATABASE, "migrations"),
    ),
    Check("clock", clock, "Let the machine keep its time by NTP.", needs=(DATABASE, "migrations", "heartbeat")),
    Check("candles", candles, "Look at the heartbeat's log.", needs=(DATABASE, "migrations", "heartbeat")),
    Check(
        "last sweep",
        last_sweep,
        "Look at beat and the worker of the queue sweep, and at its length.",
        needs=(DATABASE, "migrations"),
    ),
    Check("web", web, "Start the web server, or look at its log and the proxy's."),
)
