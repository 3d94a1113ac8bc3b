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
from urllib.parse import unquote, urlsplit

import structlog
from django.conf import settings
from structlog.typing import EventDict, Processor

# What callers may add with `extra`; others, such as Django, put whole requests there.
CONTEXT: Final = ("task", "task_id", "feed", "slot", "sweep_id", "frames")
HIDDEN: Final = "***"

# redis://:password@host, postgres://name:password@host
_IN_URL = re.compile(r"(?<=://)([^/\s:@'\"]*):[^/\s@'\"]+@")
# password=..., "sessionid": "...", Authorization: Bearer ...
_NAMED = re.compile(
    r"(?i)\b(password|passwd|secret|token|api_?key|authorization|cookie|sessionid|csrftoken)"
    r"(['\"\\]*\s*[=:]\s*['\"\\]*)((?:bearer|basic)\s+)?[^\s'\",;&}\\]+"
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
        super().__init__(
            processors=[_as_json(process) if is_json else _as_words], foreign_pre_chain=before, keep_exc_info=False
        )
        self._secrets = sorted(known_secrets(), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record), self._secrets)


def _as_json(process: str) -> Processor:
    def render(logger: Any, name: str, event: EventDict) -> str:
        record, words = _taken_apart(event)
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": process,
            "event": words,
        }
        return json.dumps({**fields, **event}, default=str)

    return render


def _as_words(logger: Any, name: str, event: EventDict) -> str:
    record, words = _taken_apart(event)
    below = [event.pop(part) for part in ("stack", "exception") if part in event]
    context = "".join(f" {key}={value}" for key, value in event.items())
    return "\n".join([f"{record.levelname} {record.name}: {words}{context and ' |'}{context}", *below])


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
    return {secret for secret in (*given, *passwords) if secret and len(secret) >= 8}


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret replaced: the known ones, and what looks like one by where it stands."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return _NAMED.sub(rf"\1\2\3{HIDDEN}", _IN_URL.sub(rf"\1:{HIDDEN}@", text))
