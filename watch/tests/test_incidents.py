from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from watch.models import Incident
from watch.services import incidents
from watch.services.incidents import ABANDONED_AFTER, KEEP, TELL_WITHIN, claim_telling, note_told

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
A_MINUTE = timedelta(minutes=1)
OLD_SWEEP = {"sweep": "the last closed sweep is old", "candles": ""}
WELL = {"sweep": "", "candles": ""}

pytestmark = pytest.mark.django_db


def note(*, reasons: Mapping[str, str | None], process: str, now: datetime) -> None:
    """As web processes note that are sure of what they see at once: it has ended when it was not seen for 30 s."""
    incidents.note(reasons=reasons, process=process, now=now, unseen_after=timedelta(seconds=30))


def claimed(now: datetime) -> list[Incident]:
    """All that a process would tell."""
    return list(iter(lambda: claim_telling(now=now), None))


def test_what_is_not_well_is_an_incident_from_its_beginning_to_its_end() -> None:
    note(reasons=OLD_SWEEP, process="web-1", now=NOON)
    note(reasons=OLD_SWEEP, process="web-2", now=NOON + A_MINUTE)
    note(reasons=WELL, process="web-1", now=NOON + 2 * A_MINUTE)
    note(reasons=WELL, process="web-2", now=NOON + 3 * A_MINUTE)

    incident = Incident.objects.get()
    assert (incident.part, incident.reason, incident.process) == ("sweep", "the last closed sweep is old", "")
    assert (incident.started_at, incident.ended_at) == (NOON, NOON + 2 * A_MINUTE)


def test_what_nobody_can_tell_begins_and_ends_nothing() -> None:
    note(reasons={"sweep": None}, process="web-1", now=NOON)
    assert not Incident.objects.exists()

    note(reasons=OLD_SWEEP, process="web-1", now=NOON)
    note(reasons={"sweep": None}, process="web-1", now=NOON + A_MINUTE)

    assert Incident.objects.open().count() == 1


def test_a_second_time_is_a_second_incident() -> None:
    for number, reasons in enumerate([OLD_SWEEP, WELL, OLD_SWEEP]):
        note(reasons=reasons, process="web-1", now=NOON + number * A_MINUTE)

    assert [incident.ended_at for incident in Incident.objects.order_by("started_at")] == [NOON + A_MINUTE, None]


def test_what_one_process_sees_and_another_does_not_is_one_incident_with_one_mail_at_either_end() -> None:
    told = []
    for second in range(0, 300, 15):
        now = NOON + timedelta(seconds=second)
        note(reasons={"broker": ""}, process="web-well", now=now)
        note(reasons={"broker": "no answer" if second < 150 else ""}, process="web-bad", now=now)
        for incident in claimed(now):
            told.append(incident.ended_at is None)
            note_told(incident=incident, now=now)

    assert told == [True, False]
    assert Incident.objects.count() == 1


def test_what_ended_long_ago_is_forgotten_and_what_has_not_ended_never() -> None:
    note(reasons={"sweep": "old", "broker": "no answer"}, process="web-1", now=NOON)
    note(reasons={"sweep": "", "broker": None}, process="web-1", now=NOON + A_MINUTE)

    note(reasons={}, process="web-1", now=NOON + KEEP)
    assert Incident.objects.count() == 2
    note(reasons={}, process="web-1", now=NOON + KEEP + 2 * A_MINUTE)

    assert list(Incident.objects.values_list("part", flat=True)) == ["broker"]


def test_one_incident_is_claimed_at_a_time_so_that_a_slow_mail_holds_up_no_other() -> None:
    note(reasons={"sweep": "old", "broker": "no answer"}, process="web-1", now=NOON)

    first, second = claim_telling(now=NOON), claim_telling(now=NOON)

    assert first is not None
    assert second is not None
    assert {first.part, second.part} == {"sweep", "broker"}
    assert claim_telling(now=NOON) is None


def test_the_database_refuses_a_second_open_one_of_the_same_part() -> None:
    note(reasons=OLD_SWEEP, process="web-1", now=NOON)

    with pytest.raises(IntegrityError), transaction.atomic():
        Incident.objects.create(part="sweep", reason="again", started_at=NOON, seen_at=NOON)


def test_each_web_process_has_a_relay_of_its_own() -> None:
    note(reasons={"relay": "silent"}, process="web-1", now=NOON)
    note(reasons={"relay": ""}, process="web-2", now=NOON)
    note(reasons={"relay": "silent"}, process="web-3", now=NOON)

    assert set(Incident.objects.open().values_list("process", flat=True)) == {"web-1", "web-3"}


def test_what_a_process_said_of_itself_ends_with_the_process() -> None:
    note(reasons={"relay": "silent", "sweep": "old"}, process="web-1", now=NOON)

    note(reasons={"sweep": None}, process="web-2", now=NOON + ABANDONED_AFTER + A_MINUTE)

    assert list(Incident.objects.open().values_list("part", flat=True)) == ["sweep"]


def test_the_operator_is_told_once_of_the_beginning_and_once_of_the_end() -> None:
    note(reasons=OLD_SWEEP, process="web-1", now=NOON)
    [begun] = claimed(NOON)
    note_told(incident=begun, now=NOON)
    assert claimed(NOON + A_MINUTE) == []

    note(reasons=WELL, process="web-1", now=NOON + 2 * A_MINUTE)
    [over] = claimed(NOON + 2 * A_MINUTE)
    note_told(incident=over, now=NOON + 2 * A_MINUTE)

    assert (begun.ended_at, over.ended_at) == (None, NOON + 2 * A_MINUTE)
    assert claimed(NOON + 3 * A_MINUTE) == []
    assert Incident.objects.get().told_at == NOON


def test_an_end_that_comes_while_the_beginning_is_told_is_told_as_well() -> None:
    note(reasons=OLD_SWEEP, process="web-1", now=NOON)
    [begun] = claimed(NOON)
    note(reasons=WELL, process="web-2", now=NOON + A_MINUTE)
    note_told(incident=begun, now=NOON + A_MINUTE)

    [over] = claimed(NOON + A_MINUTE)

    assert over.ended_at == NOON + A_MINUTE


def test_an_incident_that_ended_untold_needs_one_mail_only() -> None:
    note(reasons=OLD_SWEEP, process="web-1", now=NOON)
    note(reasons=WELL, process="web-1", now=NOON + A_MINUTE)

    [over] = claimed(NOON + A_MINUTE)
    note_told(incident=over, now=NOON + A_MINUTE)

    assert claimed(NOON + 2 * A_MINUTE) == []


def test_whoever_dies_while_telling_is_replaced_after_a_minute() -> None:
    note(reasons=OLD_SWEEP, process="web-1", now=NOON)
    assert len(claimed(NOON)) == 1

    assert claimed(NOON + timedelta(seconds=59)) == []
    assert len(claimed(NOON + timedelta(seconds=61))) == 1


def test_history_is_not_told() -> None:
    note(reasons=OLD_SWEEP, process="web-1", now=NOON)

    assert claimed(NOON + TELL_WITHIN + A_MINUTE) == []


@pytest.mark.django_db(transaction=True)
def test_of_many_processes_that_see_it_at_once_one_opens_it_and_one_tells(caplog: pytest.LogCaptureFixture) -> None:
    def see(number: int) -> int:
        try:
            note(reasons=OLD_SWEEP, process=f"web-{number}", now=NOON)
            return len(claimed(NOON))
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as processes:
        found = list(processes.map(see, range(8)))

    assert Incident.objects.count() == 1
    assert sum(found) == 1
    assert [record.message for record in caplog.records].count("incident: the last closed sweep is old") == 1
