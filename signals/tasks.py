"""Signals on the task queue. Every task finds in Postgres whether its work is still to be done."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from celery import Task, shared_task
from django.conf import settings
from django.db import DatabaseError
from django.utils.dateparse import parse_datetime
from kombu.exceptions import KombuError as BrokerError

from live.publish import publish
from market import clock
from market.store import CandleStore
from signals.models import CENTRAL, AlgorithmPreferences, Sweep
from signals.services import bots, housekeeping, ledger, parity, scoring
from signals.services.delivery import closing_of, deliveries_of
from signals.services.documents import build_documents
from signals.services.evaluation import evaluate, load_latest, plan_of
from signals.services.readiness import central_timeframes, lateness
from signals.services.results import write_outcomes
from signals.services.schedules import latest_instant
from signals.services.sweeps import (
    OVERDUE_AFTER,
    NotEntitled,
    central_timetable,
    check_sweep,
    end_spans_of_stopped_feed,
    forget_resend,
    open_central_sweep,
    open_premium_sweep,
    overdue_slots,
    record_missed_slots,
)
from signals.services.tallies import rebuild_months

logger = logging.getLogger(__name__)

READINESS_POLL = 0.05  # seconds
# Late slots that one look sends: twenty at once would stand in front of the present one.
LATE_AT_ONCE = 4
# So many go to the broker in one round trip, and are worked on while the next ones are made.
MESSAGES_AT_ONCE = 20


@shared_task(bind=True)
def central_sweep(self: Task[..., None], /, *, slot: str | None = None, **unknown: Any) -> None:
    """Runs every algorithm on every ticker at a slot: beat's stamp, `slot` (ISO 8601), or the schedule's newest one."""
    at = _slot_of(self, slot, feed=CENTRAL)
    if at is None:
        return
    late = _wait_for_candles(at, central_timeframes())
    if late is None:
        logger.warning("central sweep %s: the market's data is not there yet", at)
        return
    sweep = open_central_sweep(slot=at, note=late, now=datetime.now(UTC))
    if sweep is None:
        logger.info("central sweep %s was already run", at)
        return
    _fan_out(sweep, sweep.ticker_ids, queue="sweep", size=settings.SWEEP_TICKERS_PER_TASK)


@shared_task(bind=True)
def premium_sweep(self: Task[..., None], /, *, preference_id: int, slot: str | None = None, **unknown: Any) -> None:
    """Runs one premium preference at a slot, into its owner's private group."""
    try:
        preference = AlgorithmPreferences.objects.enabled().select_related("configuration").get(pk=preference_id)
        at = _slot_of(self, slot, feed=preference.feed)
        if at is None:
            return
        if _wait_for_candles(at, {preference.configuration.timeframe}) is None:
            logger.warning("%s %s: the market's data is not there yet", preference.feed, at)
            return
        sweep = open_premium_sweep(preference_id=preference_id, slot=at, now=datetime.now(UTC))
    except (NotEntitled, AlgorithmPreferences.DoesNotExist) as refused:
        logger.info("premium sweep of preference %s not run: %s", preference_id, refused)
        return
    if sweep is not None:
        _fan_out(sweep, sweep.ticker_ids, queue="premium", size=settings.SWEEP_TICKERS_PER_TASK)


@shared_task
def evaluate_tickers(*, sweep_id: int, ticker_ids: Sequence[int], **unknown: Any) -> None:
    """Computes, writes and publishes what a sweep owes these tickers. Run twice, it writes once."""
    plan = plan_of(sweep_id)
    store = CandleStore()
    series = {timeframe: store.load(ticker_ids, timeframe) for timeframe in plan.timeframes}
    latest = load_latest(configuration_ids=[one.pk for one in plan.configurations], ticker_ids=ticker_ids)
    started = time.perf_counter()
    outcomes = evaluate(plan=plan, ticker_ids=ticker_ids, candles=series, latest=latest)
    milliseconds = (time.perf_counter() - started) * 1000 / len(outcomes)
    for outcome in outcomes:
        outcome.duration_ms = milliseconds
    written = write_outcomes(plan=plan, outcomes=outcomes, now=datetime.now(UTC), market_now=clock.now())
    publish(deliveries_of(plan=plan, written=written))


@shared_task(expires=10)
def close_sweeps(**unknown: Any) -> None:
    """Closes finished sweeps, and sends again what was lost: a ticker's task, or a whole sweep's. Every few seconds."""
    for sweep in Sweep.objects.open().order_by("slot"):
        try:
            _close_or_send_again(sweep)
        except (DatabaseError, BrokerError):  # of this sweep; the others are looked at all the same
            logger.exception("%s could not be looked after; the next look tries again", sweep)
    market_now, now = clock.now(), datetime.now(UTC)
    record_missed_slots(market_now=market_now, now=now)
    end_spans_of_stopped_feed()
    # Late ones come a few at a time, and wait for older ones at work; not for the present one, which may be at every look.
    if not Sweep.objects.central().open().filter(slot__lt=market_now - OVERDUE_AFTER).exists():
        for slot in overdue_slots(market_now=market_now)[:LATE_AT_ONCE]:
            if lateness(slot=slot, timeframes=central_timeframes(), now=now) == "":  # else it is looked at again
                central_sweep.apply_async(kwargs={"slot": slot.isoformat()}, expires=10)


def _close_or_send_again(sweep: Sweep) -> None:
    check = check_sweep(sweep=sweep, now=datetime.now(UTC))
    if check.closed is not None:
        publish([closing_of(check.closed)])
    if check.resend:
        try:
            # One by one: a ticker that cost its task the worker must not cost its neighbours again.
            _fan_out(sweep, check.resend, queue="sweep" if sweep.feed == CENTRAL else "premium", size=1)
        except BrokerError:
            forget_resend(sweep=sweep)
            raise


@shared_task(ignore_result=False, soft_time_limit=600, time_limit=660)
def prune(**unknown: Any) -> dict[str, int]:
    """Drops signals, receipts, sweeps and notifications past their retention."""
    return housekeeping.prune(now=datetime.now(UTC))


@shared_task(ignore_result=False)
def cleanup_inactive_bots(**unknown: Any) -> int:
    """Switches off the schedules of users who left or whose plan ended."""
    return bots.cleanup_inactive_bots(now=datetime.now(UTC))


@shared_task(soft_time_limit=600, time_limit=660)
def score_calls(**unknown: Any) -> None:
    """Scores the calls that have become due. Every few minutes; what a stop has left out is made up for."""
    scoring.score_calls(market_now=clock.now(), now=datetime.now(UTC))


@shared_task(soft_time_limit=3_000, time_limit=3_060)
def build_record(*, everything: bool = False, **unknown: Any) -> None:
    """Makes the pages of the public record anew from the outcomes: of the months that can still change, or of all."""
    rebuild_months(at=clock.now(), everything=everything)
    build_documents(at=clock.now())


@shared_task(soft_time_limit=1_800, time_limit=1_860)
def write_ledger(**unknown: Any) -> None:
    """Adds the days that are over to the hash chain of the public calls."""
    ledger.write_ledger(market_now=clock.now(), now=datetime.now(UTC))


@shared_task(ignore_result=False, soft_time_limit=3 * 3_600, time_limit=3 * 3_600 + 60)
def replay_day(*, day: str | None = None, **unknown: Any) -> dict[str, Any]:
    """Replays a day of the central feed (ISO 8601, default: yesterday); the result page's night is what this gives."""
    wanted = date.fromisoformat(day) if day else clock.now().date() - timedelta(days=1)
    try:
        found = parity.replay_day(day=wanted)
    except parity.NothingToReplay:  # a feed that began today, or that was stopped
        found = parity.Replay(wanted)
    if found.differing:
        logger.error("the replay of %s: %d verdicts differ, such as %s", wanted, found.differing, found.differences[0])
    return parity.as_json(found)


def _slot_of(task: Task[..., None], given: str | None, *, feed: str) -> datetime | None:
    """The slot a sweep stands for: as given, as beat stamped it, or the newest instant of the row's schedule."""
    # A worker finds a message's own headers beside the task's properties; `apply` keeps them apart.
    stamped = given or task.request.get("slot") or (task.request.headers or {}).get("slot")
    if stamped:
        slot = parse_datetime(stamped)
        if slot is None or slot.tzinfo is None:
            raise ValueError(
                f"a slot is an ISO 8601 instant with its zone, such as 2026-11-21T12:02:00Z, not {stamped!r}"
            )
        return slot
    timetable = central_timetable() if feed == CENTRAL else bots.timetable_of(feed)
    if timetable is None:
        logger.warning("%s has no schedule; give a slot", feed)
        return None
    return latest_instant(timetable, at=clock.now())


def _wait_for_candles(slot: datetime, timeframes: set[str]) -> str | None:
    """Waits until the candles up to the slot are in, until a little after the slot; then as `readiness.lateness` says."""
    patience = settings.WATERMARK_WAIT.total_seconds()
    deadline = time.monotonic() + min(patience, (slot - clock.now()).total_seconds() + patience)
    while (late := lateness(slot=slot, timeframes=timeframes, now=datetime.now(UTC))) != "":
        if time.monotonic() > deadline:
            break
        time.sleep(READINESS_POLL)
    return late


def _fan_out(sweep: Sweep, ticker_ids: Sequence[int], *, queue: str, size: int) -> None:
    """One message per `size` tickers; old ones expire instead of piling up."""
    expires = settings.SWEEP_MISSING_AFTER.total_seconds()
    with evaluate_tickers.app.producer_or_acquire() as producer, producer.batch(max_size=MESSAGES_AT_ONCE):
        for start in range(0, len(ticker_ids), size):
            evaluate_tickers.apply_async(
                kwargs={"sweep_id": sweep.pk, "ticker_ids": list(ticker_ids[start : start + size])},
                queue=queue,
                expires=expires,
                producer=producer,
                headers={"slot": sweep.slot.isoformat(), "feed": sweep.feed},  # for the log of whoever takes it
            )
