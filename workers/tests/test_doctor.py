from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app
from django.conf import settings as real_settings
from django.core.management import call_command
from django.db import connection
from django_celery_beat.models import PeriodicTask
from psycopg2 import OperationalError
from pytest_django import Settings

from signals.services.housekeeping import bootstrap
from signals.tests.conftest import NOON
from watch.services import stores as clients
from workers.doctor import machine, product, stores
from workers.doctor.check import Check, Doubtful, Failed, Finding, examine
from workers.wheels import CHECKOUT

NOWHERE = {
    "DATABASE_URL": "postgres://boritrader:hunter2@127.0.0.1:1/boritrader",
    "BROKER_URL": "redis://:hunter2@127.0.0.1:1/0",
    "LIVE_URL": "redis://:hunter2@127.0.0.1:1/0",
    "WEB_PORT": "1",
}


def doctor(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as people run it."""
    return subprocess.run(
        [sys.executable, "manage.py", "doctor", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONWARNINGS": "ignore", **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_with_everything_down_each_check_says_so_with_its_remedy() -> None:
    done = doctor("--json", **NOWHERE)

    found = {one["name"]: one for one in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1
    assert not json.loads(done.stdout)["is_well"]
    assert {name for name, one in found.items() if one["state"] == "failed"} == {
        "database",
        "live store",
        "broker",
        "web",
    }
    assert found["candles"] | {"words": ""} == {
        "name": "candles",
        "state": "unknown",
        "words": "",
        "remedy": "First mend: database.",
    }
    assert all(one["remedy"] for one in found.values() if one["state"] != "well")
    assert "Traceback" not in done.stdout + done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_for_people_it_is_drawn_without_colours_where_no_terminal_reads() -> None:
    lines = doctor(**NOWHERE).stdout.splitlines()

    drawn = [line for line in lines if line[:1] in "✓!✗?" and line]
    assert len(drawn) == sum(map(len, (machine.CHECKS, stores.CHECKS, product.CHECKS)))
    assert len({line.index("  ") for line in drawn if line[2:].startswith(("Python", "disk"))}) == 2
    assert not any("\x1b" in line for line in lines)
    assert lines[-1].startswith("4 of ")


def test_without_settings_it_says_what_is_missing_and_cannot_run() -> None:
    done = doctor(SECRET_KEY="", BORITRADER_BUILD="", RUN_FOLDER="/nowhere")

    assert done.returncode == 2
    assert done.stderr.startswith("SECRET_KEY is not set.")
    assert "Traceback" not in done.stderr


def test_what_depends_on_a_failed_check_is_not_blamed() -> None:
    asked = []

    def fail() -> str:
        raise OperationalError("connection refused\nIs the server running?")

    def ask() -> str:
        asked.append(1)
        return "well"

    checks = [Check("a", fail, "mend a"), Check("b", ask, "mend b", needs=("a",)), Check("c", ask, "c", needs=("b",))]

    found = list(examine(checks))

    assert found[0].state == "failed"
    assert [(one.state, one.remedy) for one in found[1:]] == [("unknown", "First mend: a.")] * 2
    assert asked == []


def test_a_check_that_is_broken_stops_no_other() -> None:
    def doubt() -> str:
        raise Doubtful("hardly", "rather so")

    def fail() -> str:
        raise Failed("no")

    found = list(examine([Check("a", lambda: str(1 // 0), "x"), Check("b", doubt, "y"), Check("c", fail, "z")]))

    assert [(one.state, one.remedy) for one in found[1:]] == [("doubtful", "rather so"), ("failed", "z")]
    assert "ZeroDivisionError" in found[0].words


def one(check: str, checks: tuple[Check, ...] = (*machine.CHECKS, *stores.CHECKS, *product.CHECKS)) -> Finding:
    [chosen] = [each for each in checks if each.name == check]
    return next(examine([chosen]))


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({"ALLOWED_HOSTS": ["127.0.0.1", "localhost"]}, "well"),
        ({"ALLOWED_HOSTS": ["*"]}, "failed"),
        ({"ALLOWED_HOSTS": ["signals.example.com"]}, "doubtful"),
        ({"ALLOWED_HOSTS": ["signals.example.com"], "DEBUG": True}, "failed"),
        ({"ALLOWED_HOSTS": ["signals.example.com"], "IS_DEMO": True}, "failed"),
        ({"ALLOWED_HOSTS": ["signals.example.com"], "IS_HTTPS": True}, "failed"),
        (
            {
                "ALLOWED_HOSTS": ["signals.example.com"],
                "IS_HTTPS": True,
                "CSRF_TRUSTED_ORIGINS": ["https://signals.example.com"],
            },
            "well",
        ),
    ],
)
def test_hosts_https_and_demo_people_must_fit_together(settings: Settings, changed: dict[str, Any], state: str) -> None:
    for name, value in changed.items():
        setattr(settings, name, value)

    assert one("web address").state == state


def test_it_says_that_nobody_would_be_told(settings: Settings) -> None:
    assert one("mail to the operator").state == "doubtful"
    settings.OPERATOR_EMAILS, settings.EMAIL_HOST = ["oscar@example.org"], "mail.example.org"
    assert one("mail to the operator").words == "to oscar@example.org by mail.example.org"


@pytest.mark.django_db
class TestWithStores:
    def test_the_stores_of_the_tests_are_well_but_for_the_disk_they_do_not_use(self) -> None:
        states = {name: one(name).state for name in ("database", "migrations", "connections", "live store", "queues")}

        assert set(states.values()) == {"well"}, states
        assert one("broker").words == "tasks are lost when it restarts"

    def test_a_web_that_could_open_more_connections_than_there_are_is_a_doubt(self, settings: Settings) -> None:
        settings.WEB_REQUESTS_AT_ONCE = 1_000

        assert one("connections").state == "doubtful"
        assert "may open 1" in one("connections").words

    def test_the_servers_own_processes_are_no_connections(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
            (clients_now,) = cursor.fetchone()

        assert one("connections").words.startswith(f"{clients_now} of ")

    def test_rows_that_are_missing_are_named_until_they_are_made(self) -> None:
        assert one("rows").state == "failed"
        bootstrap(now=NOON)
        assert one("rows").state == "well"
        assert one("schedules").state == "well"

    def test_a_schedule_that_was_switched_off_is_named(self) -> None:
        bootstrap(now=NOON)
        PeriodicTask.objects.filter(name="central sweep").update(enabled=False)

        assert one("schedules").words == "not enabled: central sweep"

    @pytest.fixture
    def live_policy(self) -> Iterator[None]:
        before = clients.live().config_get("maxmemory-policy")["maxmemory-policy"]
        clients.live().config_set("maxmemory-policy", "allkeys-lru")
        yield
        clients.live().config_set("maxmemory-policy", str(before))

    def test_a_live_store_that_throws_candles_away_is_wrong(self, live_policy: None) -> None:
        found = one("live store")

        assert found.state == "failed"
        assert "noeviction" in found.remedy

    def test_a_message_may_wait_for_hours_in_the_queue_of_the_record_alone(self) -> None:
        broker = clients.broker()
        message = json.dumps({"headers": {"sent_at": time.time() - 3_600}})
        try:
            broker.lpush("record", message)
            assert one("queues").state == "well"
            broker.lpush("mail", message)
            assert one("queues").words.startswith("tasks wait too long in mail (36")
        finally:
            broker.delete("record", "mail")

    def test_nobody_at_work_is_noticed(self) -> None:
        clients.live().flushdb()

        assert one("beat").state == "failed"
        assert one("workers").words.startswith("nobody takes tasks from ")
        assert one("heartbeat").words == "the heartbeat has not reported yet"
        assert one("last sweep").words == "no sweep has been closed yet"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("uptimes", "state", "words"),
    [
        ([20, 150], "doubtful", "starting, for 150 s: "),
        ([20, 200], "failed", ""),
        ([], "failed", ""),
    ],
)
def test_what_has_just_been_started_may_lack_its_first_sweep_and_its_candles(
    monkeypatch: pytest.MonkeyPatch, uptimes: list[int], state: str, words: str
) -> None:
    bootstrap(now=NOON)  # a sweep every two minutes
    answers = {f"worker-{number}": {"uptime": uptime} for number, uptime in enumerate(uptimes)}
    inspect = SimpleNamespace(stats=lambda: answers or None)
    monkeypatch.setattr(current_app.control, "inspect", lambda timeout: inspect)

    sweep, candles = one("last sweep"), one("candles")

    assert (sweep.state, sweep.words) == (state, f"{words}no sweep has been closed yet")
    assert (candles.state, candles.words) == (state, f"{words}none are complete yet")
    assert sweep.remedy.startswith("Wait: the next one is due at ") == bool(words)


def test_no_secret_is_shown_in_the_configuration(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRICS_TOKEN", "hunter2-hunter2")
    monkeypatch.setenv("EMAIL_URL", "smtp+tls://name:hunter2@mail.example.org:587")
    call_command("show_config", "--json")
    printed = capsys.readouterr().out

    found = json.loads(printed)
    assert (found["METRICS_TOKEN"]["value"], found["SENTRY_DSN"]["value"]) == ("set", "unset")
    assert found["EMAIL_URL"]["value"] == "smtp+tls://name:***@mail.example.org:587"
    assert found["DATABASE_URL"]["source"] == "environment"
    assert found["LOG_FORMAT"] == {"name": "LOG_FORMAT", "source": "default", "value": "text"}
    for secret in ("hunter2", real_settings.SECRET_KEY, str(real_settings.DATABASES["default"]["PASSWORD"])):
        assert secret not in printed


@pytest.mark.django_db
def test_every_algorithm_is_listed_with_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    bootstrap(now=NOON)
    call_command("list_algorithms", "--json")

    listed = {one["id"]: one for one in json.loads(capsys.readouterr().out)}
    assert listed["rsi"]["timeframe"] == "2m"
    assert listed["rsi"]["lookback"] > 0
    assert {"name": "period", "kind": "int"}.items() <= listed["rsi"]["parameters"][0].items()


@pytest.mark.parametrize("command", ["doctor", "show_config", "list_algorithms"])
def test_each_command_explains_itself_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call_command(command, "--help")

    assert ended.value.code == 0
    assert "example" in (said := capsys.readouterr().out)
    assert f"manage.py {command}" in said
