"""Incidents: opened, ended and told once each, however many processes see them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Q

from watch.models import Incident, IncidentQuerySet

# A web process writes down what it sees four times a minute; one that is silent for longer has ended.
ABANDONED_AFTER = timedelta(minutes=2)
# Each web process sees the stores with its own eyes, and two may disagree: what all share has ended when nobody has seen
# it for as long as one that does needs to be sure of it.
UNSEEN_AFTER = timedelta(seconds=75)
KEEP = timedelta(days=90)
# What nobody could be told of for so long is history.
TELL_WITHIN = timedelta(hours=24)

OPEN = """
INSERT INTO watch_incident (part, process, reason, started_at, seen_at) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING RETURNING id
"""

logger = logging.getLogger(__name__)


def note(
    *, reasons: Mapping[str, str | None], process: str, now: datetime, unseen_after: timedelta = UNSEEN_AFTER
) -> None:
    """Writes down how the parts are: opens an incident for each that is not well, ends those of the parts that are.

    `reasons`: part -> why it is not well, empty where it is, None where nobody knows: then nothing is changed. What is
    not one process's own fault ends only when nobody has seen it for longer than `unseen_after`.
    """
    for part, reason in reasons.items():
        is_own = part == Incident.Part.RELAY
        owner = process if is_own else ""
        if reason:
            _open(part, owner, reason, now)
        elif reason is not None:
            incidents = Incident.objects.open().filter(part=part, process=owner)
            _end(incidents if is_own else incidents.filter(seen_at__lt=now - unseen_after), now)
    _end(Incident.objects.abandoned(since=now - ABANDONED_AFTER), now)
    Incident.objects.filter(ended_at__lt=now - KEEP).delete()


def _open(part: str, process: str, reason: str, now: datetime) -> None:
    if Incident.objects.open().filter(part=part, process=process).update(seen_at=now):
        return
    with connection.cursor() as cursor:
        cursor.execute(OPEN, [part, process, reason[:300], now, now])
        if cursor.fetchone():  # else another process was just as quick, and says so
            logger.error("incident: %s", reason)


def _end(incidents: IncidentQuerySet, now: datetime) -> None:
    for incident in incidents:
        if Incident.objects.open().filter(pk=incident.pk).update(ended_at=now):
            logger.warning("incident over after %d s: %s", (now - incident.started_at).total_seconds(), incident.reason)


def claim_telling(*, now: datetime) -> Incident | None:
    """The oldest incident whose beginning or end the caller shall tell the operator now; nobody else gets it meanwhile.

    One at a time, as its mail may take long. Whoever dies before `note_told` has the lease for a minute; then another
    tells: at least once, and nearly always once.
    """
    free = Q(telling_until=None) | Q(telling_until__lt=now)
    waiting = Incident.objects.untold(since=now - TELL_WITHIN).filter(free)
    for incident in waiting.order_by("started_at"):
        if waiting.filter(pk=incident.pk).update(telling_until=now + Incident.LEASE):
            return incident
    return None


def note_told(*, incident: Incident, now: datetime) -> None:
    """The operator knows of the incident as it was claimed. One that ended untold needs no second mail."""
    end_told_at = now if incident.ended_at is not None else None
    Incident.objects.filter(pk=incident.pk).update(
        told_at=incident.told_at or now, end_told_at=end_told_at, telling_until=None
    )
