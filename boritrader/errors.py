"""Errors go to Sentry, where the operator has given a SENTRY_DSN. Imported only then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.integrations import Integration
from sentry_sdk.integrations.asyncio import AsyncioIntegration
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.integrations.logging import LoggingIntegration

from boritrader.logs import cleaned, known_secrets

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint


def report_errors(*, dsn: str, environment: str, release: str) -> None:
    """From now on exceptions and errors in the log are sent. No visitor's data, no local variables, no bodies, no secrets."""
    integrations: list[Integration] = [DjangoIntegration(), CeleryIntegration(), LoggingIntegration()]
    if _is_in_event_loop():  # the web server imports us in its own; there is nothing to watch elsewhere
        integrations.append(AsyncioIntegration())
    sentry_sdk.init(
        dsn=dsn,
        environment=environment,
        release=f"boritrader@{release}",
        integrations=integrations,
        auto_enabling_integrations=False,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        before_send=_scrub,
        before_breadcrumb=_scrub_breadcrumb,
        # Errors only: what takes how long, /metrics says.
        traces_sample_rate=None,
        auto_session_tracking=False,
    )


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _scrub(event: Event, hint: Hint) -> Event:
    found: Event = cleaned(event, known_secrets())
    return found


def _scrub_breadcrumb(crumb: dict[str, Any], hint: Hint) -> dict[str, Any]:
    found: dict[str, Any] = cleaned(crumb, known_secrets())
    return found
