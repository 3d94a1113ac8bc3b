"""The operator is told by mail when something is not well, and when it is over.

Each web process watches, beside its relay: the workers may be what is broken. Which of them writes the mail, Postgres
decides (`watch.services.incidents`); while that is away nobody can, so each tells for itself, once an hour.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from datetime import UTC, datetime, timedelta
from smtplib import SMTPException
from typing import Final

from django.conf import settings
from django.core.mail import send_mail

from watch.models import Incident
from watch.probe import Probe
from watch.services import incidents
from watch.services.readiness import Readiness, Report

DATABASE: Final = "database"
# What to do first, by part; docs/OPERATIONS.md says more.
REMEDIES: Final = {
    DATABASE: "Is Postgres running, and reachable from the web processes? Nothing works without it.",
    Incident.Part.LIVE: "Is the live Redis running? Pages stay right without it, but get their signals seconds later.",
    Incident.Part.BROKER: "Is the broker's Redis running? No task is sent without it, so no sweep begins.",
    Incident.Part.SWEEP: "Look at beat, at the workers and at the length of the queue `sweep`; is the periodic task "
    "`central sweep` enabled?",
    Incident.Part.CANDLES: "Look at the heartbeat's log; is the exchange reachable, and does it let us ask?",
    Incident.Part.RELAY: "Browsers of this web process get no signals. Restart it, and keep its log for us.",
}
TELL_AGAIN_AFTER: Final = 3600.0  # seconds: of a database that is away

logger = logging.getLogger(__name__)


class Alarm:
    """Looks every `every` seconds. What lasts for `patience` seconds is an incident; before `warm_up` seconds nothing is:
    a product that has just been started has closed no sweep yet."""

    def __init__(
        self, readiness: Readiness, *, every: float = 15.0, patience: float = 60.0, warm_up: float = 300.0
    ) -> None:
        self._readiness = readiness
        self._every = every
        self._patience = patience
        self._unseen_after = timedelta(seconds=every + patience)
        self._begins_at = time.monotonic() + warm_up
        self._since: dict[str, float] = {}
        self._database_told_at: float | None = None
        self._reasons: dict[str, str | None] = {}
        # Of one thread at a time; a mail server that hangs, or a Postgres, holds up the next look and nothing else.
        self._telling = Probe(self._note_and_tell, patience=30.0, fresh_for=0.0)

    async def run(self) -> None:
        """Watches until cancelled. Nothing that goes wrong here may end a web process."""
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.look()
            except Exception:
                logger.exception("the watch could not look; it looks again")

    async def look(self) -> None:
        """One look: opens and ends incidents, and tells of them."""
        if time.monotonic() < self._begins_at:
            return
        self._reasons = self._lasting(await self._readiness.report())
        answer = await self._telling.ask()
        if answer.problem:
            logger.error("incidents are not written down or told: %s", answer.problem)

    def _lasting(self, report: Report) -> dict[str, str | None]:
        """The reasons that have been there long enough to count; a younger one is as good as unknown."""
        now = time.monotonic()
        found: dict[str, str | None] = {}
        for part, reason in report.reasons.items():
            if reason is None:  # unknown: what was seen before may still be so
                found[part] = None
            elif not reason:
                self._since.pop(part, None)
                found[part] = reason
            else:
                is_lasting = now - self._since.setdefault(part, now) >= self._patience
                found[part] = reason if is_lasting else None
        return found

    def _note_and_tell(self) -> None:
        """In a thread of its own."""
        reasons = self._reasons
        away = reasons[DATABASE]
        if away is None:
            return
        self._tell_of_database(away)
        if away:
            return
        known = {part: reason for part, reason in reasons.items() if part in Incident.Part.values}
        now = datetime.now(UTC)
        incidents.note(reasons=known, process=this_process(), now=now, unseen_after=self._unseen_after)
        if settings.OPERATOR_EMAILS:
            while incident := incidents.claim_telling(now=datetime.now(UTC)):
                if not _send(*mail_about(incident)):
                    return  # whom the mail server refuses now it refuses next
                incidents.note_told(incident=incident, now=datetime.now(UTC))

    def _tell_of_database(self, reason: str) -> None:
        told_at, now = self._database_told_at, time.monotonic()
        if reason and (told_at is None or now - told_at >= TELL_AGAIN_AFTER):
            logger.error("incident: %s", reason)
            if _send(*_mail("not well", DATABASE, f"{reason} (seen by {this_process()})", datetime.now(UTC), None)):
                self._database_told_at = now
        elif not reason and told_at is not None:
            logger.warning("incident over: the database answers again")
            if _send(*_mail("well again", DATABASE, f"it answers {this_process()}", datetime.now(UTC), None)):
                self._database_told_at = None


def this_process() -> str:
    """The name of this web process, as a log or an incident says it."""
    return f"{os.environ.get('PROCESS_NAME', 'web')} on {socket.gethostname()}, pid {os.getpid()}"[:80]


def mail_about(incident: Incident) -> tuple[str, str]:
    """Subject and text of what the operator does not know yet of an incident."""
    word = "not well" if incident.ended_at is None else "well again"
    reason = f"{incident.reason} ({incident.process})" if incident.process else incident.reason
    return _mail(word, incident.part, reason, incident.started_at, incident.ended_at)


def _mail(word: str, part: str, reason: str, since: datetime, until: datetime | None) -> tuple[str, str]:
    name = "the database" if part == DATABASE else Incident.Part(part).label
    period = f"since {since:%Y-%m-%d %H:%M:%S} UTC"
    if until is not None:
        minutes = (until - since).total_seconds() / 60
        period += f", until {until:%H:%M:%S}: {minutes:.0f} minutes"
    lines = [f"{name}: {word}", "", f"What:   {reason}", f"When:   {period}"]
    if word == "not well":
        lines += [f"Do:     {REMEDIES[part]}", "        manage.py doctor looks at everything and says what to mend."]
    lines += [f"Now:    {settings.PUBLIC_URL}/readyz", f"Before: {settings.PUBLIC_URL}/admin/watch/incident/", ""]
    return f"Boritrader: {name} {word}", "\n".join(lines)


def _send(subject: str, text: str) -> bool:
    """Whether the mail server took it. If not, somebody tries again at a later look."""
    if not settings.OPERATOR_EMAILS:
        return True
    try:
        send_mail(subject, text, settings.DEFAULT_FROM_EMAIL, settings.OPERATOR_EMAILS)
    except (SMTPException, OSError) as problem:
        logger.error("the operator could not be told by mail (%s): %s", type(problem).__name__, subject)
        return False
    return True
