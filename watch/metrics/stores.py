"""What the two Redis servers say: queues, tasks, beat, the exchange's limit, memory."""

from __future__ import annotations

import json
import time
from typing import Any, cast

from celery import current_app
from prometheus_client.metrics_core import Metric

from market import weight
from watch import task_counters
from watch.metrics.families import counters, gauge, gauges
from watch.services import stores

# The header that workers.celery puts on each message: when it was sent, in seconds since 1970.
SENT_AT = "sent_at"


def look_into_broker() -> list[Metric]:
    """Queues and memory. Raises redis.RedisError."""
    waiting, ages = {}, {}
    for queue in queues():
        waiting[queue], age = queue_state(queue)
        ages[queue] = age or 0.0
    return [
        *gauges("queue_messages", "Messages that wait in a queue.", "queue", waiting),
        *gauges("queue_age_seconds", "Age of the message whose turn is next; 0 while none waits.", "queue", ages),
        *_memory("broker", stores.broker().info()),
    ]


def queues() -> list[str]:
    """The names of the queues of celeryconfig."""
    return [queue.name for queue in current_app.conf.task_queues]


def queue_state(queue: str) -> tuple[int, float | None]:
    """How many messages wait, and for how many seconds the one whose turn is next; None if it does not say.

    Raises redis.RedisError.
    """
    with stores.broker().pipeline(transaction=False) as pipe:
        pipe.llen(queue)
        pipe.lindex(queue, -1)  # Celery pushes on the left and takes from the right
        length, message = pipe.execute()
    sent_at = _sent_at(message) if message else None
    return length, None if sent_at is None else max(0.0, time.time() - sent_at)


def _sent_at(message: bytes) -> float | None:
    try:
        return float(json.loads(message)["headers"][SENT_AT])
    except (ValueError, KeyError, TypeError):  # of another program, or of an older version of ours
        return None


def look_into_live() -> list[Metric]:
    """What processes tell each other there, and memory. Raises redis.RedisError."""
    sent_at = task_counters.last_mark("beat")
    spent = weight.read()
    return [
        *_tasks(),
        *gauge("beat_age_seconds", "Since beat last sent a message.", None if sent_at is None else time.time() - sent_at),
        *gauge("exchange_weight_used", "Request weight spent in this minute, as the exchange counts.", spent.used if spent else None),
        *gauge("exchange_weight_limit", "Request weight the exchange allows in a minute.", spent.limit if spent else None),
        *_memory("live", stores.live().info()),
    ]  # fmt: skip


def _tasks() -> list[Metric]:
    counts = task_counters.read_counts()
    states: dict[tuple[str, ...], float] = {
        (task, state): number
        for task, one in counts.items()
        for state, number in (("succeeded", one.succeeded), ("failed", one.failed), ("retried", one.retried))
    }
    seconds: dict[tuple[str, ...], float] = {(task,): one.seconds for task, one in counts.items()}
    return [
        *counters("tasks", "Runs of tasks.", ("task", "state"), states),
        *counters("task_seconds", "What the runs of a task took together.", ("task",), seconds),
    ]


def _memory(store: str, answer: Any) -> list[Metric]:
    info = cast("dict[str, Any]", answer)
    return [
        *gauge(f"{store}_memory_bytes", "Memory the server uses.", info["used_memory"]),
        *gauge(f"{store}_memory_limit_bytes", "Memory the server may use; 0 is all there is.", info["maxmemory"]),
        *gauge(f"{store}_clients", "Connections to the server.", info["connected_clients"]),
        *gauge(f"{store}_evicted_keys", "Keys thrown away for lack of memory: must be 0.", info["evicted_keys"]),
    ]
