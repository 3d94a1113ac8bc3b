"""The Celery app: `celery -A workers worker|beat|flower`."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import setup_logging
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "boritrader.settings")

app = Celery("boritrader")
app.autodiscover_tasks()


@app.on_configure.connect
def _read_environment(**kwargs: object) -> None:
    """Loads Django's settings before celeryconfig is read: they fill os.environ from `.run/env`."""
    settings.USE_TZ  # noqa: B018 (any access loads them)


app.config_from_object("celeryconfig")


@setup_logging.connect
def _keep_django_logging(**kwargs: object) -> None:
    """Connecting to this tells Celery that logging is set up: one format for every process."""
