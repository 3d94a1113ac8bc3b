from __future__ import annotations

import asyncio
import smtplib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.core import mail
from django.db import ProgrammingError
from pytest_django import Settings

from watch import alarm as alarm_module
from watch.alarm import REMEDIES, TELL_AGAIN_AFTER, Alarm
from watch.models import Incident
from watch.services import incidents
from watch.services.readiness import Report

pytestmark = pytest.mark.django_db(transaction=True)

WELL: dict[str, str | None] = dict.fromkeys(("database", "live", "broker", "sweep", "candles", "relay"), "")
OLD = "the last closed sweep stands for 2026-11-20 12:00:00 UTC, 300 s ago"


class Scripted:
    """A readiness that says what the test wants it to say."""

    def __init__(self) -> None:
        self.reasons = dict(WELL)

    async def report(self) -> Report:
        return Report(datetime.now(UTC), dict(self.reasons))


@pytest.fixture
def readiness(settings: Settings) -> Scripted:
    settings.OPERATOR_EMAILS = ["oscar@example.org"]
    settings.PUBLIC_URL = "https://signals.example.com"
    return Scripted()


async def incidents_of(query: Callable[[], Any]) -> Any:
    """What a query gives, over a connection that is closed again."""
    return await database_sync_to_async(query)()


def alarm_of(readiness: Scripted, **values: float) -> Alarm:
    return Alarm(readiness, **({"every": 0.0, "patience": 0.0, "warm_up": 0.0} | values))  # type: ignore[arg-type]


async def test_the_operator_is_told_what_since_when_and_what_to_do(readiness: Scripted) -> None:
    alarm = alarm_of(readiness)
    readiness.reasons["sweep"] = OLD

    await alarm.look()
    await alarm.look()

    [sent] = mail.outbox
    assert sent.to == ["oscar@example.org"]
    assert sent.subject == "Boritrader: the sweeps not well"
    for words in (
        OLD,
        "since 20",
        REMEDIES[Incident.Part.SWEEP],
        "manage.py doctor",
        "https://signals.example.com/readyz",
    ):
        assert words in sent.body


async def test_and_told_when_it_is_over(readiness: Scripted) -> None:
    alarm = alarm_of(readiness)
    readiness.reasons["sweep"] = OLD
    await alarm.look()
    readiness.reasons["sweep"] = ""
    await alarm.look()
    await alarm.look()

    assert [sent.subject for sent in mail.outbox] == [
        "Boritrader: the sweeps not well",
        "Boritrader: the sweeps well again",
    ]
    assert "manage.py doctor" not in mail.outbox[1].body


async def test_two_web_processes_send_one_mail(readiness: Scripted) -> None:
    readiness.reasons["candles"] = "no market data for 75 s"
    for _ in range(3):
        for process in (alarm_of(readiness), alarm_of(readiness)):
            await process.look()

    assert len(mail.outbox) == 1


async def test_what_passes_by_itself_is_no_incident(readiness: Scripted) -> None:
    alarm = alarm_of(readiness, patience=3600)
    readiness.reasons["sweep"] = OLD
    await alarm.look()
    await alarm.look()
    readiness.reasons["sweep"] = ""
    await alarm.look()

    assert mail.outbox == []
    assert not await incidents_of(Incident.objects.exists)


async def test_what_nobody_knows_for_a_moment_does_not_begin_the_patience_anew(readiness: Scripted) -> None:
    alarm = alarm_of(readiness, patience=0.2)
    for reason in (OLD, None, OLD):
        readiness.reasons["sweep"] = reason
        await alarm.look()
        await asyncio.sleep(0.15)

    assert [sent.subject for sent in mail.outbox] == ["Boritrader: the sweeps not well"]


async def test_what_keeps_incidents_from_being_written_down_is_logged_with_its_traceback(
    readiness: Scripted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(**_: Any) -> None:
        raise ProgrammingError("permission denied for table watch_incident")

    monkeypatch.setattr(incidents, "note", refuse)

    await alarm_of(readiness).look()

    assert "permission denied for table watch_incident" in caplog.text
    assert "incidents are not written down or told" in caplog.text


async def test_a_product_that_has_just_been_started_is_given_its_time(readiness: Scripted) -> None:
    readiness.reasons["sweep"] = "no sweep has been closed yet"

    await alarm_of(readiness, warm_up=3600).look()

    assert not await incidents_of(Incident.objects.exists)


async def test_a_mail_server_that_refuses_is_tried_again(readiness: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    alarm = alarm_of(readiness)
    readiness.reasons["sweep"] = OLD

    def refuse(*_: Any) -> None:
        raise smtplib.SMTPServerDisconnected("try later")

    with monkeypatch.context() as patch:
        patch.setattr(alarm_module, "send_mail", refuse)
        await alarm.look()
    assert (await incidents_of(Incident.objects.get)).told_at is None

    await incidents_of(partial(Incident.objects.update, telling_until=None))  # a minute later
    await alarm.look()

    assert len(mail.outbox) == 1
    assert (await incidents_of(Incident.objects.get)).told_at is not None


async def test_without_an_address_incidents_are_written_down_and_logged(
    readiness: Scripted, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.OPERATOR_EMAILS = []
    readiness.reasons["sweep"] = OLD

    await alarm_of(readiness).look()

    assert mail.outbox == []
    assert await incidents_of(Incident.objects.count) == 1
    assert f"incident: {OLD}" in caplog.text


async def test_a_database_that_is_away_is_told_by_each_process_once_an_hour(
    readiness: Scripted, monkeypatch: pytest.MonkeyPatch, forbid_database: Callable[[], None]
) -> None:
    alarm = alarm_of(readiness)
    readiness.reasons |= {"database": "the database: no answer (OperationalError)", "sweep": None, "candles": None}
    forbid_database()

    await alarm.look()
    await alarm.look()
    assert [sent.subject for sent in mail.outbox] == ["Boritrader: the database not well"]

    assert alarm._database_told_at is not None
    alarm._database_told_at -= TELL_AGAIN_AFTER
    await alarm.look()
    assert len(mail.outbox) == 2


async def test_and_told_when_it_is_back(readiness: Scripted) -> None:
    alarm = alarm_of(readiness)
    readiness.reasons["database"] = "the database: no answer (OperationalError)"
    await alarm.look()
    readiness.reasons["database"] = ""
    await alarm.look()
    await alarm.look()

    assert [sent.subject.rpartition("database ")[2] for sent in mail.outbox] == ["not well", "well again"]


@pytest.fixture
def forbid_database(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Whoever then writes down an incident fails the test."""

    def arm() -> None:
        def refuse(**_: Any) -> None:
            raise AssertionError("the database is away")

        monkeypatch.setattr(incidents, "note", refuse)
        monkeypatch.setattr(incidents, "claim_telling", refuse)

    return arm


def test_every_part_has_a_remedy() -> None:
    assert set(REMEDIES) == {*Incident.Part.values, "database"}
