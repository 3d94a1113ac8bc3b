"""Statements that a connection plans once."""

from __future__ import annotations

import pytest
from django.db import connection

from market.statements import Statement

pytestmark = pytest.mark.django_db


def doubling(name: str) -> Statement:
    return Statement(name, "SELECT %(number)s * 2, %(word)s", {"number": "bigint", "word": "text"})


def answer(statement: Statement, number: int) -> tuple[object, ...]:
    with connection.cursor() as cursor:
        statement.execute(cursor, {"number": number, "word": "a % sign"})
        row: tuple[object, ...] = cursor.fetchone()
        return row


def prepared_runs(name: str) -> int:
    """How often this connection has run the statement as one that it had prepared."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(generic_plans + custom_plans) FROM pg_prepared_statements WHERE name = %s", [name])
        (count,) = cursor.fetchone()
        return int(count or 0)


def test_a_connection_prepares_a_statement_once_and_gives_it_new_values() -> None:
    statement = doubling("prepared_once")

    assert [answer(statement, number) for number in (1, 2)] == [(2, "a % sign"), (4, "a % sign")]
    assert prepared_runs("prepared_once") == 2


def test_a_statement_that_was_prepared_without_anybody_noting_it_is_used() -> None:
    answer(doubling("unnoted"), 1)

    assert answer(doubling("unnoted"), 3) == (6, "a % sign")
    assert prepared_runs("unnoted") == 2


def test_behind_pgbouncer_nothing_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)

    assert answer(doubling("unprepared"), 4) == (8, "a % sign")
    assert prepared_runs("unprepared") == 0
