"""A fault that cannot be inflicted spoils its own round alone."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from django.db import connection

from workers.chaos.drill import _inflict
from workers.chaos.faults import FIND_WAITING_RECORD, NO_WORK, Fault


def test_a_fault_that_fails_is_a_problem_of_its_round_and_told_with_its_traceback() -> None:
    def fail(_: Any) -> None:
        raise TimeoutError("no other web within 60 s")

    said: list[str] = []
    stage: Any = SimpleNamespace(trouble=lambda: "the web is not running", say=said.append)

    clean_up, seen, broken = _inflict(stage, Fault("web", NO_WORK, "kill -9 of the web", fail, 1))

    assert clean_up is None
    assert seen in ("", "the web is not running")
    assert [(one.name, one.example) for one in broken] == [
        ("the fault itself failed", "TimeoutError: no other web within 60 s")
    ]
    assert "in fail" in said[0]


@pytest.mark.django_db
def test_the_worker_of_the_record_is_seen_when_it_waits_for_the_lock_and_not_before() -> None:
    def connect(name: str) -> Any:
        one = psycopg2.connect(**connection.get_connection_params() | {"application_name": name})
        one.autocommit = True
        return contextlib.closing(one)

    def is_seen() -> bool:
        asking.execute(FIND_WAITING_RECORD)
        return asking.fetchone() is not None

    with connect("asks") as first, connect("holds") as second, connect("worker-record") as third:
        asking, holding, worker = first.cursor(), second.cursor(), third.cursor()
        holding.execute("BEGIN; LOCK TABLE accounts_notification IN ACCESS EXCLUSIVE MODE")
        assert not is_seen()
        with ThreadPoolExecutor(1) as thread:
            pruning = thread.submit(worker.execute, "DELETE FROM accounts_notification")
            try:
                ends_at = time.monotonic() + 20
                while not is_seen():
                    assert time.monotonic() < ends_at
                    time.sleep(0.01)
            finally:
                holding.execute("ROLLBACK")
            pruning.result()
        assert not is_seen()
