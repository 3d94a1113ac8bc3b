from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.db import DatabaseError, connection
from django.test import Client

from dashboard.freshness import HEARTBEAT_SILENCE, MARKET_SILENCE, freshness, market_freshness
from dashboard.tests.conftest import PERIOD, close_sweep, last_slot, note_heartbeat
from signals.models import CENTRAL, Sweep
from signals.services.evaluation import to_ms

HEALTH = "/health/"


def test_a_fresh_feed_is_healthy_and_says_what_its_last_sweep_did(client: Client, product: None) -> None:
    close_sweep(last_slot())
    note_heartbeat(updated_at=datetime.now(UTC))

    response = client.get(HEALTH)

    health = response.json()
    assert response.status_code == 200
    assert (health["status"], health["reason"]) == ("fresh", "")
    assert health["sweep"]["slot"] == to_ms(last_slot())
    counts = {name: health["sweep"][name] for name in ("tickers", "ok", "results", "calls", "duration_ms")}
    assert counts == {"tickers": 30, "ok": 30, "results": 360, "calls": 4, "duration_ms": 1_840}
    assert 0 <= health["sweep_age_ms"] <= PERIOD / timedelta(milliseconds=1)
    assert health["market"]["is_connected"]
    assert "no-store" in response["Cache-Control"]


def test_before_the_first_sweep_there_is_nothing_to_rely_on(client: Client, product: None) -> None:
    response = client.get(HEALTH)

    assert response.status_code == 503
    assert response.json()["reason"] == "no sweep has been closed yet; the heartbeat has not reported yet"
    assert response.json()["sweep"] is None


def test_an_old_sweep_is_no_health_however_alive_the_processes_are(client: Client, product: None) -> None:
    close_sweep(last_slot() - 3 * PERIOD)

    response = client.get(HEALTH)

    assert response.status_code == 503
    assert "one is due every 120 s" in response.json()["reason"]


def test_sweeps_that_nobody_ran_and_those_of_others_do_not_count(client: Client, product: None) -> None:
    slot = last_slot()
    Sweep.objects.create(feed=CENTRAL, slot=slot, status=Sweep.Status.MISSED, started_at=slot, closed_at=slot)
    Sweep.objects.create(feed=CENTRAL, slot=slot - PERIOD, started_at=slot)
    Sweep.objects.create(feed="premium:1:1", slot=slot, status=Sweep.Status.CLOSED, started_at=slot, closed_at=slot)

    assert client.get(HEALTH).status_code == 503


def test_a_sweep_without_one_good_ticker_is_no_health(client: Client, product: None) -> None:
    close_sweep(last_slot(), ok=0, stale=30)

    response = client.get(HEALTH)

    assert response.status_code == 503
    assert "not one of the last sweep's 30 tickers" in response.json()["reason"]


def test_the_feed_is_fresh_for_two_periods_and_no_longer(product: None) -> None:
    slot = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    close_sweep(slot)

    assert not freshness(slot + 2 * PERIOD).is_stale
    assert freshness(slot + 2 * PERIOD + timedelta(seconds=1)).is_stale


def test_the_rhythm_is_the_operators(product: None) -> None:
    from django_celery_beat.models import CrontabSchedule, PeriodicTask

    quarter, _ = CrontabSchedule.objects.get_or_create(minute="*/15", timezone="UTC")
    PeriodicTask.objects.filter(name="central sweep").update(crontab=quarter)
    slot = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    close_sweep(slot)

    feed = freshness(slot + timedelta(minutes=29))

    assert not feed.is_stale
    assert feed.period == timedelta(minutes=15)
    assert feed.next_slot == slot + timedelta(minutes=30)


def test_nothing_secret_is_told(client: Client, product: None) -> None:
    close_sweep(last_slot())
    words = client.get(HEALTH).content.decode()

    database = settings.DATABASES["default"]
    for secret in (settings.SECRET_KEY, database["PASSWORD"], settings.LIVE_URL, str(database["PORT"])):
        assert secret not in words


@pytest.mark.parametrize(
    ("silent", "unheard", "is_connected", "reason"),
    [
        (0, 75, True, "no market data for 75 s"),
        (45, 45, True, "the heartbeat last reported 45 s ago"),
        (0, 2, False, "the exchange's stream is not connected"),
    ],
)
def test_a_sweep_on_market_data_that_no_longer_come_is_no_health(
    client: Client, product: None, silent: int, unheard: int, is_connected: bool, reason: str
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    close_sweep(last_slot())
    note_heartbeat(
        updated_at=now - timedelta(seconds=silent),
        last_message_at=now - timedelta(seconds=unheard),
        is_connected=is_connected,
    )

    assert market_freshness(now).reason == reason
    response = client.get(HEALTH)
    assert response.status_code == 503
    assert response.json()["status"] == "stale"
    # The clock has moved on since, so that only the words are the same.
    assert response.json()["reason"].split(" for ")[0].split(" reported ")[0] in reason


def test_market_data_are_fresh_up_to_their_limits(product: None) -> None:
    now = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    almost = timedelta(milliseconds=1)
    note_heartbeat(updated_at=now - HEARTBEAT_SILENCE + almost, last_message_at=now - MARKET_SILENCE)

    assert market_freshness(now).reason == ""
    assert market_freshness(now + almost).reason != ""


def test_an_unhealthy_answer_is_not_logged_as_an_error_of_ours(
    client: Client, product: None, caplog: pytest.LogCaptureFixture
) -> None:
    assert client.get(HEALTH).status_code == 503

    assert [record for record in caplog.records if record.name == "django.request"] == []


@pytest.mark.django_db(transaction=True)
def test_a_database_that_does_not_answer_is_told_as_that(client: Client) -> None:
    def fail(*_: object) -> None:
        raise DatabaseError("server closed the connection unexpectedly")

    with connection.execute_wrapper(fail):
        response = client.get(HEALTH)

    assert response.status_code == 503
    assert response.json()["reason"] == "the database does not answer"
