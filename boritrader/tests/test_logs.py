from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from urllib.parse import quote, quote_plus, urlsplit

import pytest
import structlog
from django.conf import settings as real_settings
from pytest_django import Settings

from boritrader.logs import LineFormatter, without_secrets

SLOT = "2026-11-20T12:00:00+00:00"


def record(words: str, *arguments: object, **context: object) -> logging.LogRecord:
    found = logging.getLogger("signals.tasks").makeRecord(
        "signals.tasks", logging.WARNING, "tasks.py", 1, words, arguments, None, extra=context
    )
    found.created = 1_795_000_000.5
    return found


def as_json(one: logging.LogRecord) -> dict[str, object]:
    line = LineFormatter(is_json=True, process="worker-sweep").format(one)
    assert "\n" not in line
    found: dict[str, object] = json.loads(line)
    return found


def test_a_line_for_programs_has_its_fields() -> None:
    assert as_json(record("%d tickers in %d ms", 100, 42)) == {
        "time": "2026-11-18T11:06:40.500+00:00",
        "level": "warning",
        "logger": "signals.tasks",
        "process": "worker-sweep",
        "event": "100 tickers in 42 ms",
    }


def test_a_line_for_people_reads_as_before_with_its_context_behind() -> None:
    line = LineFormatter(is_json=False, process="worker-sweep").format(record("closed", slot=SLOT, sweep_id=7))

    assert line == f"WARNING signals.tasks: closed | slot={SLOT} sweep_id=7"
    assert LineFormatter(is_json=False, process="web").format(record("hello")) == "WARNING signals.tasks: hello"


def test_what_is_bound_for_a_task_is_on_each_of_its_lines_and_on_no_other() -> None:
    with structlog.contextvars.bound_contextvars(task="signals.tasks.central_sweep", slot=SLOT):
        inside = as_json(record("opened"))
    outside = as_json(record("idle"))

    assert (inside["task"], inside["slot"]) == ("signals.tasks.central_sweep", SLOT)
    assert "slot" not in outside


def test_whole_requests_that_libraries_attach_are_left_out() -> None:
    assert "request" not in as_json(record("Not Found", request=object(), status_code=404))


@pytest.mark.parametrize("is_json", [False, True])
def test_a_traceback_is_there(is_json: bool) -> None:
    one = record("failed")
    try:
        raise KeyError("a fault of ours")
    except KeyError:
        one.exc_info = sys.exc_info()

    line = LineFormatter(is_json=is_json, process="web").format(one)

    assert "Traceback" in line
    assert "a fault of ours" in line
    assert is_json == ("\n" not in line)


@pytest.mark.parametrize("is_json", [False, True])
def test_no_secret_of_this_installation_is_written_wherever_it_stands(is_json: bool) -> None:
    secrets = {
        real_settings.SECRET_KEY,
        str(real_settings.DATABASES["default"]["PASSWORD"]),
        str(urlsplit(real_settings.LIVE_URL).password),
    }
    assert all(len(secret) >= 8 for secret in secrets)
    formatter = LineFormatter(is_json=is_json, process="web")
    for secret in secrets:
        one = record("connecting with %s", secret, task=f"of {secret}")
        try:
            raise ConnectionError(f"cannot reach redis://:{secret}@127.0.0.1:6379/0")
        except ConnectionError:
            one.exc_info = sys.exc_info()

        line = formatter.format(one)

        assert secret not in line
        assert "***" in line


@pytest.mark.parametrize(
    "words",
    [
        "cannot reach redis://:hunter2@10.0.0.1:6379/0",
        "postgres://boritrader:hunter2@10.0.0.1/boritrader refused",
        "smtp+tls://name:hunter2@mail.example.org:587",
        "connection failed: host=10.0.0.1 password=hunter2 user=x",
        "{'sessionid': 'hunter2', 'theme': 'dark'}",
        '{"csrftoken": "hunter2"}',
        r"{\"password\": \"hunter2\"}",
        "Cookie: sessionid=hunter2; theme=dark",
        "Authorization: Bearer hunter2",
        "GET /hook?token=hunter2&x=1",
        "DB_PASSWORD=hunter2",
        "SECRET_KEY=hunter2",
        "AWS_ACCESS_KEY: hunter2",
        "client_secret=hunter2&x=1",
        "access_token=hunter2",
        "new_password1=hunter2&new_password2=hunter2",
        "csrfmiddlewaretoken=hunter2&username=alice",
        "{'session_key': 'hunter2'}",
        "X-CSRFToken: hunter2",
        "password='one more hunter2' user=x",
        'DB_PASSWORD="one \\" more hunter2"',
        r"{\"password\": \"one more hunter2\"}",
        "password=b'hunter2'",
        "Authorization: Token hunter2",
        "{'Authorization': 'Token hunter2'}",
    ],
)
def test_what_looks_like_a_secret_is_not_written_either(words: str) -> None:
    cleaned = without_secrets(words, [])

    assert "hunter2" not in cleaned
    assert "***" in cleaned


@pytest.mark.parametrize(
    "words",
    [
        "central 2026-11-20 12:00:00 closed: 100 tickers in 840 ms",
        "GET http://127.0.0.1:8000/readyz?x=1 200",
        "the password of nobody was asked for",
        "secretary: Bob",
        "tokens=5 cookies: 3",
        "password='' user=x",
        "keyboard=qwerty monkey: 1",
        "SECRET_KEY is not set",
    ],
)
def test_innocent_words_stay_as_they_are(words: str) -> None:
    assert without_secrets(words, []) == words


def test_what_stands_behind_a_secret_is_still_written() -> None:
    words = "password='two words' user=alice; token=abc&x=1"

    assert without_secrets(words, []) == "password='***' user=alice; token=***&x=1"


@pytest.mark.parametrize("secret", ['with"quotes"in', "with\\back\\slashes", "mit-Ümläuten-drin", "with blanks & more"])
@pytest.mark.parametrize("write", [str, repr, json.dumps, quote, quote_plus])
@pytest.mark.parametrize("is_json", [False, True])
def test_a_known_secret_is_found_however_it_is_written(
    settings: Settings, secret: str, write: Callable[[str], str], is_json: bool
) -> None:
    settings.METRICS_TOKEN = secret
    words = f"was shown {write(secret)} by somebody"

    line = LineFormatter(is_json=is_json, process="web").format(record(words))

    said = json.loads(line)["event"] if is_json else line.partition(": ")[2]
    assert said == words.replace(write(secret).strip("'\""), "***")


@pytest.mark.parametrize("words", ["password='", 'token: "', "it's secret: 'tis", 'password="a\\"'])
def test_a_line_for_programs_stays_one_whatever_is_taken_out(words: str) -> None:
    line = as_json(record(words, task="it's 'quoted' \"twice\"", slot=SLOT))

    assert (line["task"], line["slot"]) == ("it's 'quoted' \"twice\"", SLOT)


@pytest.mark.parametrize("name", ["uvicorn", "uvicorn.error", "uvicorn.access", "celery", "celery.worker"])
def test_the_servers_own_loggers_speak_through_ours(name: str) -> None:
    logger: logging.Logger | None = logging.getLogger(name)
    handlers = []
    while logger:
        handlers += logger.handlers
        logger = logger.parent if logger.propagate else None

    formatters = [handler.formatter for handler in handlers if type(handler) is logging.StreamHandler]
    assert [type(formatter) for formatter in formatters] == [LineFormatter]
