"""Incidents: opened, ended and told once each, however many processes see them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db.models import Q

from watch.models import Incident, IncidentQuerySet

# A web process writes down what it sees four times a minute; one that is silent for longer has ended.
ABANDONED_AFTER = timedelta(minutes=2)
# What nobody could be told of for so long is history.
TELL_WITHIN = timedelta(hours=24)

logger = logging.getLogger(__name__)


def note(*, reasons: Mapping[str, str | None], process: str, now: datetime) -> None:
    """Writes down how the parts are: opens an incident for each that is not well, ends those of the parts that are.

    `reasons`: part -> why it is not well, empty where it is, None where nobody knows: then nothing is changed.
    """
    for part, reason in reasons.items():
        owner = process if part == Incident.Part.RELAY else ""
        if reason:
            _open(part, owner, reason, now)
        elif reason is not None:
            _end(Incident.objects.open().filter(part=part, process=owner), now)
    _end(Incident.objects.abandoned(since=now - ABANDONED_AFTER), now)


def _open(part: str, process: str, reason: str, now: datetime) -> None:
    if Incident.objects.open().filter(part=part, process=process).update(seen_at=now):
        return
    incident = Incident(part=part, process=process, reason=reason[:300], started_at=now, seen_at=now)
    Incident.objects.bulk_create([incident], ignore_conflicts=True)  # another process may be just as quick
    logger.error("incident: %s", reason)


def _end(incidents: IncidentQuerySet, now: datetime) -> None:
    for incident in incidents:
        if Incident.objects.open().filter(pk=incident.pk).update(ended_at=now):
            logger.warning("incident over after %d s: %s", (now - incident.started_at).total_seconds(), incident.reason)


def claim_telling(*, now: datetime) -> list[Incident]:
    """The incidents whose beginning or end the caller shall tell the operator now; nobody else gets them meanwhile.

    Whoever dies before `told` has the lease for a minute; then another tells: at least once, and nearly always once.
    """
    free = Q(telling_until=None) | Q(telling_until__lt=now)
    waiting = Incident.objects.untold(since=now - TELL_WITHIN).filter(free).order_by("started_at")
    return [
        incident
        for incident in waiting
        if Incident.objects.filter(free, pk=incident.pk).update(telling_until=now + Incident.LEASE)
    ]


def note_told(*, incident: Incident, now: datetime) -> None:
    """The operator knows of the incident as it was claimed. One that ended untold needs no second mail."""
    end_told_at = now if incident.ended_at is not None else None
    Incident.objects.filter(pk=incident.pk).update(
        told_at=incident.told_at or now, end_told_at=end_told_at, telling_until=None
    )
