"""The Celery app: `celery -A workers worker|beat|flower`."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import structlog
from celery import Celery, Task, bootsteps
from celery.signals import (
    before_task_publish,
    setup_logging,
    task_failure,
    task_postrun,
    task_prerun,
    worker_process_init,
    worker_process_shutdown,
)
from django.conf import settings
from django.db import close_old_connections, connection

from watch.task_counters import counter

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "boritrader.settings")

app = Celery("boritrader")
app.autodiscover_tasks()

# What these tasks send belongs to their sweep. Others, such as `close_sweeps`, have a slot that is only their own.
SWEEP_TASKS = {"signals.tasks.central_sweep", "signals.tasks.premium_sweep"}
# As the metrics call what Celery calls a state.
STATES = {"SUCCESS": "succeeded", "FAILURE": "failed", "RETRY": "retried"}
# Seconds for which a connection to Postgres is not asked again whether it works: the question costs as much as reading.
TRUSTED_FOR = 1.0

logger = logging.getLogger(__name__)
_started: dict[str, float] = {}  # task id -> when this process began with it, monotonic
_looked_at = 0.0  # at the database connection, monotonic
_newest_sweep = 0  # that this process has worked on
# What the messages that the present task sends inherit.
_of_sweep: ContextVar[Mapping[str, str]] = ContextVar("_of_sweep", default=MappingProxyType({}))


@app.on_configure.connect
def _read_environment(**kwargs: object) -> None:
    """Loads Django's settings before celeryconfig is read: they fill os.environ from `.run/env`."""
    settings.USE_TZ  # noqa: B018 (any access loads them)


app.config_from_object("celeryconfig")


@setup_logging.connect
def _keep_django_logging(**kwargs: object) -> None:
    """Connecting to this tells Celery that logging is set up: one format for every process."""


class GatheredEvents(bootsteps.StartStopStep):
    """Sends what Flower hears of tasks together, a few times a second.

    By itself Celery sends it each time that its loop turns, for every message and every result: half of what a worker's
    parent process does for short tasks, and most of what Flower does.
    """

    requires = ("celery.worker.consumer.events:Events",)
    PAUSE = 0.25  # seconds
    MOST = 300  # events of one message

    def start(self, parent: Any) -> None:
        self._is_due = False
        parent.event_dispatcher.buffer_limit = self.MOST
        parent.event_dispatcher.on_send_buffered = lambda: self._plan(parent)

    def _plan(self, parent: Any) -> None:
        if not self._is_due:
            self._is_due = True
            parent.hub.call_later(self.PAUSE, self._flush, parent)

    def _flush(self, parent: Any) -> None:
        self._is_due = False
        parent.event_dispatcher.flush()

    def stop(self, parent: Any) -> None:
        parent.event_dispatcher.flush()


app.steps["consumer"].add(GatheredEvents)


@before_task_publish.connect
def _stamp_message(sender: str, headers: dict[str, Any], **kwargs: object) -> None:
    """Says when the message was sent, and which slot of which feed the work is for: the log of its task names both."""
    headers["sent_at"] = time.time()
    for name, value in _of_sweep.get().items():
        headers.setdefault(name, value)


@task_prerun.connect
def _begin_task(task_id: str, task: Task[..., object], kwargs: dict[str, Any], **_: object) -> None:
    if task.request.is_eager:  # then log, connection and count are the caller's, who may be in a transaction
        return
    _started[task_id] = time.monotonic()
    _name_work(task, task_id, kwargs)
    _look_at_connection()


def _look_at_connection() -> None:
    """Lets go of a connection that is too old, or that a restart of Postgres has broken. One that has just served is neither."""
    global _looked_at
    now = time.monotonic()
    if connection.errors_occurred or now - _looked_at > TRUSTED_FOR:
        _looked_at = now
        close_old_connections()


def _name_work(task: Task[..., object], task_id: str, kwargs: dict[str, Any]) -> None:
    """Binds what every line of the log shall say until the task ends."""
    global _newest_sweep
    name = str(task.name)
    context: dict[str, Any] = {"task": name, "task_id": task_id}
    sweep_id = kwargs.get("sweep_id")
    if name in SWEEP_TASKS or sweep_id:
        feed = "central" if name == "signals.tasks.central_sweep" else task.request.get("feed")
        found = {"slot": kwargs.get("slot") or task.request.get("slot"), "feed": feed, "sweep_id": sweep_id}
        context |= {key: value for key, value in found.items() if value}
    if name in SWEEP_TASKS:
        _of_sweep.set({key: context[key] for key in ("slot", "feed") if key in context})
    structlog.contextvars.bind_contextvars(**context)
    if sweep_id and sweep_id > _newest_sweep:
        _newest_sweep = sweep_id
        # Thousands of premium sweeps may run within a minute.
        logger.log(logging.INFO if context.get("feed") == "central" else logging.DEBUG, "begins with a sweep's tickers")


@task_postrun.connect
def _end_task(task_id: str, task: Task[..., object], state: str = "", **_: object) -> None:
    started = _started.pop(task_id, None)
    if started is None:
        return
    counter.add(str(task.name), STATES.get(state, "failed"), time.monotonic() - started)
    structlog.contextvars.clear_contextvars()
    _of_sweep.set({})


@task_failure.connect
def _count_killed_task(task_id: str, sender: Task[..., object], **_: object) -> None:
    """A task whose process was killed has no end of its own: the worker's parent tells of it. Others are counted above."""
    if task_id not in _started and not sender.request.is_eager:
        counter.add(str(sender.name), "failed")


@worker_process_init.connect
def _leave_alone_what_stays(**kwargs: object) -> None:
    """What is loaded by now lives as long as the process: the garbage collector need not look through it again and again.

    Asked for once more after that: a full collection waits until what is new is a quarter of what the last one has seen.
    """
    gc.freeze()
    gc.collect()


@worker_process_shutdown.connect
def _hand_over_counts(**kwargs: object) -> None:
    counter.hand_over()
