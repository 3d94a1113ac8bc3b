"""Sweeps: opened once per feed and slot, sent again where workers were lost, closed when every ticker has a receipt."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from django.conf import settings
from django.db import connection, transaction
from django_celery_beat.models import PeriodicTask

from billing.entitlements import entitlements
from live.messages import SweepClosedFrame
from market.models import Ticker
from signals.models import CENTRAL, AlgorithmPreferences, Sweep
from signals.services.evaluation import plan_of, to_ms
from signals.services.results import write_missing
from signals.services.schedules import Timetable, instants_between, instants_up_to, latest_instant

logger = logging.getLogger(__name__)

CENTRAL_TASK_NAME = "central sweep"
# A slot that is this old and has no sweep has lost its message, or its worker.
OVERDUE_AFTER = timedelta(seconds=5)
# The newest so many slots are run late rather than not at all; older ones are recorded as missed.
LATE_SLOTS = 20
# A worker that is only busy gets this long before its tickers are sent to another one.
QUICKEST_RESEND = timedelta(seconds=10)

COUNT_RECEIPTS = """
SELECT count(*),
       count(*) FILTER (WHERE status = 'ok'), count(*) FILTER (WHERE status = 'stale'),
       count(*) FILTER (WHERE status = 'failed'), count(*) FILTER (WHERE status = 'missing'),
       coalesce(sum(results), 0), coalesce(sum(calls), 0), max(finished_at)
FROM signals_tickerrun WHERE slot = %s AND sweep_id = %s
"""

FIND_UNANSWERED = """
SELECT ticker_id FROM unnest(%s::bigint[]) AS covered (ticker_id)
EXCEPT SELECT ticker_id FROM signals_tickerrun WHERE slot = %s AND sweep_id = %s
ORDER BY ticker_id
"""

# A late slot comes after newer ones: it ends nothing, since what ran after it decides; and a span may begin earlier than was
# known, but never inside another of its own.
NOTE_SPANS = """
WITH ended AS (
    UPDATE signals_centralspan SET until = %(slot)s
    WHERE until IS NULL AND since < %(slot)s AND NOT configuration_id = ANY(%(configurations)s::bigint[])
      AND NOT EXISTS (SELECT FROM signals_sweep WHERE feed = 'central' AND status <> 'missed' AND slot > %(slot)s)
)
INSERT INTO signals_centralspan AS span (configuration_id, since)
SELECT configuration_id, %(slot)s FROM unnest(%(configurations)s::bigint[]) AS running (configuration_id)
WHERE NOT EXISTS (
    SELECT FROM signals_centralspan AS older
    WHERE older.configuration_id = running.configuration_id AND older.until > %(slot)s)
ON CONFLICT (configuration_id) WHERE until IS NULL DO UPDATE SET since = excluded.since
WHERE span.since > excluded.since
"""
# Premium schedules go on while the operator has stopped the feed: what they call then is nobody else's business.
END_SPANS = """
UPDATE signals_centralspan SET until = greatest(since, newest.slot) + interval '1 microsecond'
FROM (SELECT max(slot) AS slot FROM signals_sweep WHERE feed = 'central' AND status <> 'missed') AS newest
WHERE until IS NULL AND newest.slot IS NOT NULL
"""


class NotEntitled(PermissionError):
    """The plan does not include schedules of one's own (any more). Remedy: a premium plan."""


@dataclass(frozen=True, slots=True)
class SweepCheck:
    """What a look at an open sweep found: it was closed, or these tickers are to be sent again, or neither."""

    closed: Sweep | None = None
    resend: Sequence[int] = ()


def open_central_sweep(*, slot: datetime, note: str, now: datetime) -> Sweep | None:
    """The sweep of the central feed at `slot`, or None where it exists: somebody else runs it, or ran it."""
    preferences = AlgorithmPreferences.objects.central().select_related("configuration").prefetch_related("tickers")
    with transaction.atomic():
        sweep = _insert(CENTRAL, slot, list(preferences), note, now)
        if sweep is not None:
            _note_spans(sweep)
    return sweep


def _note_spans(sweep: Sweep) -> None:
    """Keeps which configurations the central feed runs from when to when: whose calls are public, for ever."""
    with connection.cursor() as cursor:
        cursor.execute(NOTE_SPANS, {"slot": sweep.slot, "configurations": sweep.configuration_ids})


def open_premium_sweep(*, preference_id: int, slot: datetime, now: datetime) -> Sweep | None:
    """The sweep of one premium preference at `slot`, or None where it exists.

    Raises AlgorithmPreferences.DoesNotExist, or NotEntitled when the plan has ended since the schedule was made.
    """
    preference = AlgorithmPreferences.objects.enabled().select_related("configuration", "user").get(pk=preference_id)
    if not is_entitled_to_schedule(preference=preference, now=now):
        raise NotEntitled(f"the plan of user {preference.user_id} does not include this schedule")
    return _insert(preference.feed, slot, [preference], "", now)


def is_entitled_to_schedule(*, preference: AlgorithmPreferences, now: datetime) -> bool:
    """Whether the owner's plan includes this schedule: the oldest so many of an active user."""
    allowed = entitlements(preference.user, now=now).own_schedules if preference.user.is_active else 0
    scheduled = AlgorithmPreferences.objects.for_user(preference.user).enabled().exclude(execution_frequency="")
    return preference.pk in set(scheduled.order_by("pk").values_list("pk", flat=True)[:allowed])


def _insert(
    feed: str, slot: datetime, preferences: Sequence[AlgorithmPreferences], note: str, now: datetime
) -> Sweep | None:
    sweep = Sweep(
        feed=feed,
        slot=slot,
        started_at=now,
        note=note[:300],
        ticker_ids=_covered(preferences),
        configuration_ids=sorted({preference.configuration_id for preference in preferences}),
    )
    Sweep.objects.bulk_create([sweep], ignore_conflicts=True)
    # With ignore_conflicts Postgres does not tell which row is ours: ours is the one with our start.
    return Sweep.objects.filter(feed=feed, slot=slot, started_at=now).first()


def _covered(preferences: Sequence[AlgorithmPreferences]) -> list[int]:
    active = set(Ticker.objects.active().values_list("pk", flat=True))
    if any(preference.all_tickers for preference in preferences):
        return sorted(active)
    chosen = {ticker.pk for preference in preferences for ticker in preference.tickers.all()}
    return sorted(active & chosen)


def overdue_slots(*, market_now: datetime) -> list[datetime]:
    """The recent central slots that nobody has opened, oldest first: messages were lost, or there was no beat.

    None before the first sweep but the newest. None while the operator has stopped the feed; when it goes on, those of
    the pause are late, too.
    """
    timetable = _running_timetable()
    if timetable is None:
        return []
    slots = _recent_slots(timetable, market_now - OVERDUE_AFTER)
    first = Sweep.objects.central().order_by("slot").values_list("slot", flat=True).first()
    opened = set(Sweep.objects.central().filter(slot__gte=slots[0]).values_list("slot", flat=True))
    since = slots[-1] if first is None else first
    return [slot for slot in slots if slot >= since and slot not in opened]


def record_missed_slots(*, market_now: datetime, now: datetime) -> None:
    """Rows for the central slots that nobody ran and that are too old to be run late."""
    timetable = _running_timetable()
    if timetable is None:
        return
    oldest = _recent_slots(timetable, market_now)[0]
    before = Sweep.objects.central().filter(slot__lt=oldest).order_by("-slot").first()
    if before is None:
        return
    # From a little before that one: a slot may have been lost just before the product was stopped.
    first = Sweep.objects.central().earliest("slot").slot
    since = max(first, _recent_slots(timetable, before.slot)[0], oldest - settings.SWEEP_RETENTION)
    opened = set(Sweep.objects.central().filter(slot__gte=since).values_list("slot", flat=True))
    slots = [slot for slot in instants_between(timetable, after=since, before=oldest) if slot not in opened]
    note = "nobody ran it: the product was stopped, its schedule disabled, or the market's data not there"
    missed = [
        Sweep(feed=CENTRAL, slot=slot, status=Sweep.Status.MISSED, note=note, started_at=now, closed_at=now)
        for slot in slots
    ]
    Sweep.objects.bulk_create(missed, ignore_conflicts=True, batch_size=5_000)
    if missed:
        logger.warning("%d central slots before %s were missed", len(missed), oldest)


def _recent_slots(timetable: Timetable, at: datetime) -> list[datetime]:
    """The newest LATE_SLOTS slots at or before an instant, oldest first."""
    return list(islice(instants_up_to(timetable, at=at), LATE_SLOTS))[::-1]


def end_spans_of_stopped_feed() -> None:
    """While the operator has stopped the central feed, nothing that is called is public."""
    if _running_timetable() is None:
        with connection.cursor() as cursor:
            cursor.execute(END_SPANS)


def central_timetable() -> Timetable | None:
    """The schedule of the central feed, as the operator keeps it in the admin."""
    task = _central_task()
    return None if task is None else task.schedule


def _running_timetable() -> Timetable | None:
    """The same; None while the operator has stopped it."""
    task = _central_task()
    return task.schedule if task is not None and task.enabled else None


def _central_task() -> PeriodicTask | None:
    return PeriodicTask.objects.filter(name=CENTRAL_TASK_NAME).select_related("crontab", "interval").first()


def check_sweep(*, sweep: Sweep, now: datetime) -> SweepCheck:
    """Closes an open sweep whose tickers all have receipts, or says which tickers to send again.

    After `_resend_after` the unanswered tickers are sent once more; after SWEEP_MISSING_AFTER they get a receipt
    that says so, and the sweep is closed. Both are counted from the start of the sweep, by our own clock.
    """
    unanswered = _unanswered(sweep)
    age = now - sweep.started_at
    if unanswered and age >= settings.SWEEP_MISSING_AFTER:
        logger.error("%s: no worker answered for %d tickers", sweep, len(unanswered))
        write_missing(plan=plan_of(sweep.pk), ticker_ids=unanswered, now=now)
        unanswered = _unanswered(sweep)
    if not unanswered:
        return SweepCheck(closed=_close(sweep, now))
    if age >= _resend_after(sweep) and _claim_resend(sweep, now):
        logger.warning("%s: sending %d unanswered tickers again", sweep, len(unanswered))
        return SweepCheck(resend=unanswered)
    return SweepCheck()


def _resend_after(sweep: Sweep) -> timedelta:
    """SWEEP_RESEND_AFTER; for a central feed of a quicker rhythm two of its periods, but QUICKEST_RESEND at least."""
    timetable = central_timetable() if sweep.feed == CENTRAL else None
    if timetable is None:
        return settings.SWEEP_RESEND_AFTER
    before = latest_instant(timetable, at=sweep.slot - timedelta(microseconds=1))
    return min(settings.SWEEP_RESEND_AFTER, max(QUICKEST_RESEND, 2 * (sweep.slot - before)))


def _unanswered(sweep: Sweep) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(FIND_UNANSWERED, [sweep.ticker_ids, sweep.slot, sweep.pk])
        return [ticker_id for (ticker_id,) in cursor.fetchall()]


def forget_resend(*, sweep: Sweep) -> None:
    """Sending again has failed: the next look does it."""
    Sweep.objects.open().filter(pk=sweep.pk).update(resent_at=None)


def _claim_resend(sweep: Sweep, now: datetime) -> bool:
    """True for the one caller that may send again."""
    return Sweep.objects.open().filter(pk=sweep.pk, resent_at=None).update(resent_at=now) == 1


def _close(sweep: Sweep, now: datetime) -> Sweep | None:
    """The sweep as closed, for the one caller that closed it; None for the others."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT_RECEIPTS, [sweep.slot, sweep.pk])
        _, ok, stale, failed, missing, results, calls, finished_at = cursor.fetchone()
    duration = max(timedelta(0), (finished_at or now) - sweep.started_at)
    values = {
        "status": Sweep.Status.CLOSED,
        "closed_at": now,
        "duration_ms": round(duration.total_seconds() * 1000),
        "ok": ok,
        "stale": stale,
        "failed": failed,
        "missing": missing,
        "results": results,
        "calls": calls,
    }
    if Sweep.objects.open().filter(pk=sweep.pk).update(**values) != 1:
        return None
    sweep.refresh_from_db()
    logger.info(
        "%s closed: %d tickers in %d ms (%d ok, %d stale, %d failed, %d missing), %d verdicts, %d calls%s",
        sweep, sweep.tickers, sweep.duration_ms, ok, stale, failed, missing, results, calls,
        f"; {sweep.note}" if sweep.note else "",
        extra={"feed": sweep.feed, "slot": sweep.slot.isoformat(), "sweep_id": sweep.pk},
    )  # fmt: skip
    return sweep


def closed_frame(sweep: Sweep) -> SweepClosedFrame:
    """What browsers are told of a closed sweep."""
    assert sweep.closed_at is not None
    return {
        "type": "sweep_closed",
        "v": 1,
        "feed": sweep.feed,
        "slot": to_ms(sweep.slot),
        "closed_at": to_ms(sweep.closed_at),
        "duration_ms": sweep.duration_ms or 0,
        "tickers": sweep.tickers,
        "ok": sweep.ok,
        "stale": sweep.stale,
        "failed": sweep.failed,
        "missing": sweep.missing,
        "results": sweep.results,
        "calls": sweep.calls,
    }
