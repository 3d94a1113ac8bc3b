"""What Celery's signals add to messages, to the log's context and to the counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from celery.events.dispatcher import EventDispatcher
from celery.signals import task_failure, task_postrun, task_prerun
from django.db import connection

from signals.tasks import evaluate_tickers
from watch.services import stores
from watch.task_counters import TaskCounts, counter, read_counts
from workers import celery as ours

SLOT = "2026-11-20T12:00:00+00:00"
CENTRAL, PREMIUM = "signals.tasks.central_sweep", "signals.tasks.premium_sweep"

# Celery looks after the connection at the beginning of a task: one that another test left open, say.
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    counter.hand_over()
    stores.live().flushdb()
    stores.broker().delete("sweep")
    yield
    stores.broker().delete("sweep")


class ATask:
    """As much of a task as the receivers look at."""

    def __init__(self, name: str, *, is_eager: bool = False, **headers: Any) -> None:
        self.name = name
        self.request = SimpleNamespace(is_eager=is_eager, get=headers.get)


class Running:
    """`with Running("a task", slot=...):` is inside a task as a worker runs it, as far as Celery's signals tell."""

    def __init__(
        self, name: str, *, kwargs: dict[str, Any] | None = None, is_eager: bool = False, **headers: Any
    ) -> None:
        task = ATask(name, is_eager=is_eager, **headers)
        self._about: dict[str, Any] = {"task_id": "an-id", "task": task, "kwargs": kwargs or {}}

    def __enter__(self) -> dict[str, Any]:
        task_prerun.send(sender=self._about["task"], args=(), **self._about)
        return structlog.contextvars.get_contextvars()

    def __exit__(self, kind: object, *_: object) -> None:
        state = "FAILURE" if kind else "SUCCESS"
        task_postrun.send(sender=self._about["task"], args=(), retval=None, state=state, **self._about)


def published() -> dict[str, Any]:
    """The headers of the message that is sent now."""
    evaluate_tickers.apply_async(kwargs={"sweep_id": 7, "ticker_ids": [1]}, queue="sweep")
    message = stores.broker().rpop("sweep")
    assert isinstance(message, bytes)
    found: dict[str, Any] = json.loads(message)["headers"]
    return found


def test_a_sweeps_messages_say_which_slot_and_feed_they_are_for() -> None:
    with Running(CENTRAL, slot=SLOT) as context:
        headers = published()

    assert (headers["slot"], headers["feed"]) == (SLOT, "central")
    assert context == {"task": CENTRAL, "task_id": "an-id", "slot": SLOT, "feed": "central"}


def test_a_slot_that_was_given_counts_for_more_than_beats() -> None:
    with Running(CENTRAL, kwargs={"slot": SLOT}, slot="2026-11-20T12:02:00+00:00"):
        assert published()["slot"] == SLOT


def test_what_is_sent_again_by_another_task_does_not_take_over_that_ones_slot() -> None:
    with Running("signals.tasks.close_sweeps", slot="2026-11-20T12:00:05+00:00") as context:
        headers = published()

    assert "slot" not in headers
    assert "slot" not in context


def test_every_message_says_when_it_was_sent() -> None:
    assert isinstance(published()["sent_at"], float)


def test_the_tickers_of_a_sweep_are_worked_on_under_its_id_and_slot() -> None:
    name = "signals.tasks.evaluate_tickers"
    with Running(name, kwargs={"sweep_id": 7}, slot=SLOT, feed="central") as context:
        pass

    assert context == {"task": name, "task_id": "an-id", "sweep_id": 7, "slot": SLOT, "feed": "central"}


def test_after_a_task_nothing_of_it_is_left() -> None:
    with Running(CENTRAL, slot=SLOT):
        pass

    assert structlog.contextvars.get_contextvars() == {}
    assert "slot" not in published()


def test_runs_are_counted_by_how_they_ended() -> None:
    with Running("a task"):
        pass
    with pytest.raises(KeyError), Running("a task"):
        raise KeyError
    counter.hand_over()

    counts = read_counts()["a task"]
    assert (counts.succeeded, counts.failed) == (1, 1)
    assert counts.seconds > 0


def test_a_task_whose_process_was_killed_is_counted_by_the_parent_and_others_once() -> None:
    killed = ATask("a task")
    failing = Running("a task")
    failing.__enter__()
    task_failure.send(sender=killed, task_id="an-id")  # in the child, as for every failure
    failing.__exit__(KeyError)
    task_failure.send(sender=killed, task_id="another-id")  # in the parent, which never began with it
    counter.hand_over()

    assert read_counts()["a task"].failed == 2


def test_a_task_that_is_called_like_a_function_leaves_context_and_counts_to_its_caller() -> None:
    with structlog.contextvars.bound_contextvars(task="the caller"), Running("a task", is_eager=True) as context:
        pass
    counter.hand_over()

    assert context == {"task": "the caller"}
    assert read_counts() == dict[str, TaskCounts]()


def test_what_flower_hears_of_tasks_is_sent_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    planned: list[Any] = []
    with ours.app.connection_for_write() as broker:
        dispatcher = EventDispatcher(broker, app=ours.app, buffer_group=["task"])
        monkeypatch.setattr(dispatcher, "_publish", lambda events, *_: sent.append(len(events)))
        hub = SimpleNamespace(call_later=lambda pause, flush, parent: planned.append(lambda: flush(parent)))
        parent = SimpleNamespace(event_dispatcher=dispatcher, hub=hub, steps=[])
        step = ours.GatheredEvents(parent)
        step.start(parent)

        for _ in range(40):
            dispatcher.send("task-received", uuid="an-id")
        assert (sent, len(planned)) == ([], 1)
        planned.pop()()
        dispatcher.send("task-started", uuid="an-id")
        assert (sent, len(planned)) == ([40], 1)  # and the next ones are waited for again

        step.stop(parent)
    assert sent == [40, 1]


def test_a_connection_that_has_just_served_is_looked_at_again_only_after_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[str] = []
    monkeypatch.setattr(ours, "close_old_connections", lambda: looks.append("looked"))
    monkeypatch.setattr(ours, "_looked_at", 0.0)
    for _ in range(2):
        with Running("a task"):
            pass
    assert len(looks) == 1

    monkeypatch.setattr(connection, "errors_occurred", True)
    with Running("a task"):
        pass
    assert len(looks) == 2
