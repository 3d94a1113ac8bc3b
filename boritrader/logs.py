"""Every line that our processes log, in one format: for people, or with LOG_FORMAT=json for programs.

What was bound for the present task or given as `extra` stands behind the words as name=value, or as fields: so one
search for a slot or a sweep id follows a sweep through all processes.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

import structlog
from django.conf import settings
from structlog.typing import EventDict, Processor

# What callers may add with `extra`; others, such as Django, put whole requests there.
CONTEXT: Final = ("task", "task_id", "feed", "slot", "sweep_id")
HIDDEN: Final = "***"

# redis://:password@host, postgres://name:password@host
_IN_URL = re.compile(r"(?<=://)([^/\s:@'\"]*):[^/\s@'\"]+@")
# password=..., DB_PASSWORD='two words', "sessionid": "...", new_password1=..., Authorization: Bearer ...
_NAMED = re.compile(
    r"(?i)((?:password|passwd|passphrase|secret|token|(?:api|access|private)[_-]?key|authorization|cookie|session_?(?:id|key))"
    r"(?:[_-]?key)?(?:_?\d+)?['\"\\]*\s*[=:]\s*(?:b(?=['\"]))?)"
    # Up to the quote that closes it; or one word, behind what says which kind of word it is.
    r"(?:(?P<quote>\\*['\"])(?:(?!(?P=quote))(?:\\.|.))+(?P=quote)"
    r"|(?P<before>['\"\\]*(?:(?:bearer|basic|token|digest|apikey)\s+)?)[^\s'\",;&}\\]+)"
)


class LineFormatter(structlog.stdlib.ProcessorFormatter):
    """One line per event, tracebacks behind it. Secrets are taken out of whatever is about to be written."""

    def __init__(self, *, is_json: bool, process: str) -> None:
        before: list[Processor] = [
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ExtraAdder(allow=CONTEXT),
            structlog.processors.format_exc_info,
            structlog.processors.StackInfoRenderer(),
        ]
        secrets = known_secrets()
        super().__init__(
            processors=[_as_json(process, secrets) if is_json else _as_words(secrets)],
            foreign_pre_chain=before,
            keep_exc_info=False,
        )


def _as_json(process: str, secrets: Iterable[str]) -> Processor:
    def render(logger: Any, name: str, event: EventDict) -> str:
        record, words = _taken_apart(event)
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": process,
            "event": words,
        }
        # Before it is JSON, which writes quotes, backslashes and umlauts another way, and must stay whole.
        return json.dumps(cleaned({**fields, **event}, secrets))

    return render


def _as_words(secrets: Iterable[str]) -> Processor:
    def render(logger: Any, name: str, event: EventDict) -> str:
        record, words = _taken_apart(event)
        below = [event.pop(part) for part in ("stack", "exception") if part in event]
        context = "".join(f" {key}={value}" for key, value in event.items())
        line = f"{record.levelname} {record.name}: {words}{context and ' |'}{context}"
        return without_secrets("\n".join([line, *below]), secrets)

    return render


def _taken_apart(event: MutableMapping[str, Any]) -> tuple[logging.LogRecord, str]:
    """The record and its words; what is left in `event` is context."""
    record: logging.LogRecord = event.pop("_record")
    event.pop("_from_structlog")
    return record, str(event.pop("event"))


def known_secrets() -> set[str]:
    """Those of this installation, so that they are found wherever they stand. Short ones would also hit innocent words."""
    given = [settings.SECRET_KEY, settings.METRICS_TOKEN, settings.EMAIL_HOST_PASSWORD]
    urls = [settings.LIVE_URL, os.environ.get("BROKER_URL", "")]
    passwords = [unquote(urlsplit(url).password or "") for url in urls]
    passwords += [urlsplit(settings.SENTRY_DSN).username or "", settings.DATABASES["default"].get("PASSWORD") or ""]
    passwords.append(os.environ.get("FLOWER_BASIC_AUTH", "").partition(":")[2])
    found = {secret for secret in (*given, *passwords) if secret and len(secret) >= 8}
    # Also as they stand in JSON, in what Python shows of a string, and in an address.
    return found | {form(secret) for secret in found for form in (_in_json, _in_repr, quote_plus, quote)}


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret replaced: the known ones, and what looks like one by where it stands."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _NAMED.sub(_hidden, _IN_URL.sub(rf"\1:{HIDDEN}@", text))


def _in_json(secret: str) -> str:
    return json.dumps(secret)[1:-1]


def _in_repr(secret: str) -> str:
    return repr(secret)[1:-1]


def cleaned(value: Any, secrets: Iterable[str]) -> Any:
    """The same without secrets, however deep they are. What JSON has no word for becomes text."""
    if isinstance(value, dict):
        return {key: cleaned(one, secrets) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [cleaned(one, secrets) for one in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return without_secrets(str(value), secrets)


def _hidden(found: re.Match[str]) -> str:
    name, mark, before = found[1], found["quote"], found["before"]
    return f"{name}{mark}{HIDDEN}{mark}" if mark else f"{name}{before}{HIDDEN}"
