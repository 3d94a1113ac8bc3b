"""The Celery app: `celery -A workers worker|beat|flower`."""

from __future__ import annotations

import os

from celery import Celery, Task
from celery.signals import setup_logging, task_prerun
from django.conf import settings
from django.db import close_old_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "boritrader.settings")

app = Celery("boritrader")
app.autodiscover_tasks()


@app.on_configure.connect
def _read_environment(**kwargs: object) -> None:
    """Loads Django's settings before celeryconfig is read: they fill os.environ from `.run/env`."""
    settings.USE_TZ  # noqa: B018 (any access loads them)


app.config_from_object("celeryconfig")


@task_prerun.connect
def _look_at_connections(task: Task[..., object], **kwargs: object) -> None:
    """Lets go of a connection that is too old, or that a restart of Postgres has broken."""
    if not task.request.is_eager:  # then the connection is the caller's, perhaps in a transaction
        close_old_connections()


@setup_logging.connect
def _keep_django_logging(**kwargs: object) -> None:
    """Connecting to this tells Celery that logging is set up: one format for every process."""
