"""Celery's settings: queues, routes, limits. Reads the environment only; imports nothing of the house."""

from __future__ import annotations

import os

from kombu import Queue

broker_url = os.environ.get("BROKER_URL", "")
broker_connection_retry_on_startup = True
broker_transport_options = {
    # Messages are acknowledged when their task begins (task_acks_late is False): however long a task then takes, only a
    # message that waits in a worker's prefetch for longer than this is delivered a second time. In front of tasks of a
    # minute none waits so long; the record's worker, whose tasks may take three hours, fetches nothing ahead. What was
    # delivered twice may run twice all the same: every task finds in Postgres what is still to be done.
    "visibility_timeout": 1800,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
}

# A writable broker must not become code execution.
accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"

timezone = "UTC"
enable_utc = True

# `steering`: what keeps sweeps going. It takes milliseconds and is read beside `sweep`, in turns with it, so that neither
# two thousand tickers nor a prune of ten minutes is in front of it.
# `record`: what takes minutes or hours, with a worker of its own. No mail and no premium sweep waits behind it, and its
# worker may stand still for long without being taken for dead. Everything else ends within task_time_limit.
task_queues = [
    Queue("sweep"),
    Queue("steering"),
    Queue("premium"),
    Queue("mail"),
    Queue("default"),
    Queue("record"),
]
task_default_queue = "default"
task_create_missing_queues = False
task_routes = {
    "signals.tasks.central_sweep": {"queue": "sweep"},
    "signals.tasks.evaluate_tickers": {"queue": "sweep"},
    "signals.tasks.close_sweeps": {"queue": "steering"},
    "signals.tasks.premium_sweep": {"queue": "premium"},
    "signals.tasks.score_calls": {"queue": "record"},
    "signals.tasks.build_record": {"queue": "record"},
    "signals.tasks.write_ledger": {"queue": "record"},
    "signals.tasks.replay_day": {"queue": "record"},
    "signals.tasks.prune": {"queue": "record"},
    "market.tasks.prune_candles": {"queue": "record"},
}

# A lost message is sent again by `close_sweeps`, from Postgres. Late acknowledgement would not add safety,
# and a worker that holds unacknowledged messages exits when Redis restarts (kombu 5.7).
task_acks_late = False
worker_prefetch_multiplier = 4
task_soft_time_limit = 30
task_time_limit = 60
worker_soft_shutdown_timeout = 8
worker_max_tasks_per_child = 20_000
worker_cancel_long_running_tasks_on_connection_loss = False
worker_hijack_root_logger = False
worker_send_task_events = True

# Celery's own habit is to close the database connection after every task, which costs more than the task. Ours are kept
# for CONN_MAX_AGE and looked at before each task: workers.celery.
CELERY_DB_REUSE_MAX = 2**62

# Results are rows of ours. django-celery-results keeps the few tasks somebody reads: those say ignore_result=False.
task_ignore_result = True
result_backend = "django-db"
result_extended = True
# The record page shows the replays of the last 30 nights.
result_expires = 40 * 24 * 3600
task_track_started = True

# django-celery-beat holds the schedules; a `beat_schedule` here would overwrite the operator's edits at each start.
beat_scheduler = "workers.beat:SlotScheduler"
beat_max_loop_interval = 1
