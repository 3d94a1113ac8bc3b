"""What takes minutes or hours has a queue and a worker of its own, and nothing else waits for it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import psycopg2
import pytest
from redis import Redis

from workers import supervisor
from workers.celery import app
from workers.product import running_product
from workers.queues import RECORD_PATIENCE
from workers.tests.compose import REQUIRED, SERVICES, argv

LONG = {
    "signals.tasks.score_calls",
    "signals.tasks.build_record",
    "signals.tasks.write_ledger",
    "signals.tasks.replay_day",
    "signals.tasks.prune",
    "market.tasks.prune_candles",
}


def limits() -> dict[str, dict[str, float]]:
    """The hard limit of each task of ours, in seconds, by queue."""
    app.loader.import_default_modules()
    found: dict[str, dict[str, float]] = {}
    for name, task in app.tasks.items():
        if not name.startswith("celery."):
            queue = app.amqp.router.route({}, name)["queue"].name
            found.setdefault(queue, {})[name] = task.time_limit or app.conf.task_time_limit
    return found


def test_each_task_that_may_take_longer_than_a_minute_is_in_the_queue_of_the_record() -> None:
    found = limits()

    assert set(found.pop("record")) == LONG
    assert found
    assert all(limit <= 60 for tasks in found.values() for limit in tasks.values())


def test_the_queue_may_stand_still_for_as_long_as_its_longest_task_may_take() -> None:
    longest = max(limits()["record"].values())

    words = argv(SERVICES["worker-record"], REQUIRED)

    assert longest + 60 < RECORD_PATIENCE < 1.1 * longest
    assert float(words[words.index("--patience") + 1]) == RECORD_PATIENCE


def test_what_a_worker_fetches_ahead_of_short_tasks_begins_before_the_broker_delivers_it_again() -> None:
    fetched = app.conf.worker_prefetch_multiplier * 2  # of two processes

    assert fetched * app.conf.task_time_limit < app.conf.broker_transport_options["visibility_timeout"]


def test_make_run_and_compose_start_the_same_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"FLOWER_PORT": "1", "WEB_HOST": "127.0.0.1", "WEB_PORT": "2", "EXCHANGE": "binance"}
    commands: dict[str, tuple[str, ...]] = {}
    monkeypatch.setattr(supervisor, "python", lambda name, *words, values: commands.update({name: words}))
    supervisor.programs(values)

    ours, composed = commands["worker-record"], argv(SERVICES["worker-record"], REQUIRED)

    assert {"--disable-prefetch", "record", "1"} < set(ours)
    assert sorted(ours) == sorted(composed[composed.index("--") + 2 :])


@pytest.mark.processes
def test_behind_a_long_task_the_next_one_waits_in_the_queue_and_not_in_the_worker(tmp_path: Path) -> None:
    with running_product(tmp_path) as product, Redis.from_url(product.values["BROKER_URL"]) as broker:
        product.start("worker-record")
        with contextlib.closing(psycopg2.connect(product.values["DATABASE_URL"])) as other:
            other.cursor().execute("LOCK TABLE accounts_notification IN ACCESS EXCLUSIVE MODE")
            for _ in range(2):
                product.celery.send_task("signals.tasks.prune", queue="record")
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            product.wait_for("a prune that waits", lambda: product.query(waiting) == [(1,)])
            time.sleep(2)  # below the worker's time-out for locks
            assert (broker.llen("record"), broker.hlen("unacked")) == (1, 0)

        product.wait_for("the other prune", lambda: not broker.llen("record"))
