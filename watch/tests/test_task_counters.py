from __future__ import annotations

import os
import time

import pytest
from redis import ConnectionError as NotConnected

from watch.services import stores
from watch.task_counters import TaskCounter, TaskCounts, last_mark, read_counts


@pytest.fixture(autouse=True)
def _empty(emptied_live: None) -> None:
    pass


def test_what_several_processes_count_is_added_up() -> None:
    for counter in (TaskCounter(every=3600), TaskCounter(every=3600)):
        counter.add("a task", "succeeded", 0.25)
        counter.add("a task", "retried")
        counter.hand_over()

    assert read_counts() == {"a task": TaskCounts(succeeded=2, failed=0, retried=2, seconds=0.5)}


def test_it_is_handed_over_by_itself_and_only_what_is_new() -> None:
    counter = TaskCounter(every=0.01)

    for expected in (1, 2):
        counter.add("a task", "failed")
        ends_at = time.monotonic() + 30
        while read_counts().get("a task", TaskCounts(0, 0, 0, 0)).failed < expected:
            assert time.monotonic() < ends_at
            time.sleep(0.01)
        assert read_counts()["a task"].failed == expected


def test_while_the_store_is_away_nothing_is_lost_and_nothing_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = TaskCounter(every=3600)
    counter.add("a task", "succeeded")

    def away() -> None:
        raise NotConnected("nobody there")

    with monkeypatch.context() as patch:
        patch.setattr(stores, "live", away)
        counter.hand_over()
    counter.add("a task", "succeeded")
    counter.hand_over()

    assert read_counts()["a task"].succeeded == 2


def test_a_child_process_counts_for_itself() -> None:
    counter = TaskCounter(every=3600)
    counter.add("a task", "succeeded")  # the parent's, and so is the timer

    child = os.fork()
    if child == 0:
        counter.add("a task", "failed")
        counter.hand_over()
        os._exit(0)
    os.waitpid(child, 0)

    assert read_counts() == {"a task": TaskCounts(succeeded=0, failed=1, retried=0, seconds=0)}


def test_a_mark_is_the_time_at_which_something_happened_last() -> None:
    assert last_mark("beat") is None
    counter = TaskCounter(every=3600)
    before = time.time()

    counter.mark("beat")
    counter.hand_over()

    marked = last_mark("beat")
    assert marked is not None
    assert before <= marked <= time.time()
    assert stores.live().hlen("watch:tasks") == 0
