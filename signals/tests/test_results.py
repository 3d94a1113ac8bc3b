from __future__ import annotations

import pytest
from django.db import connection

from signals.services.results import _array

TEXTS = [
    'a "quoted" one',
    r"a \ and \n",
    "a line\nand a tab\t",
    "\x01\x1f\b\f\r",
    "ü €, 😀",
    "",
    "null",
    "{x},'y'",
    r"A\\",
]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "column"),
    [
        ("varchar", [*TEXTS, None]),
        ("float8", [1.5, 1e-7, 1e300, 5e-324, 123456789.12345678, None]),
        ("boolean", [True, False]),
        ("bigint", []),
    ],
)
def test_a_column_reaches_postgres_as_it_is(kind: str, column: list[str | float | None]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT %s::{kind}[]", [_array(column)])

        assert cursor.fetchone()[0] == column
