"""Many rows out of Postgres: without the hurry of a process' time-outs, and by COPY's binary format, several times faster."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db import connection, transaction

_HEADER, _TRAILER = 19, 2


@contextmanager
def unhurried() -> Iterator[None]:
    """A transaction whose statements may take as long as they need: for work over months of rows, which nobody waits for."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; "
                "SET LOCAL idle_in_transaction_session_timeout = 0"
            )
        yield


def copy_rows(
    query: str, parameters: Sequence[Any] | Mapping[str, Any], columns: Mapping[str, str]
) -> dict[str, npt.NDArray[Any]]:
    """What a SELECT gives, as one array per column.

    `columns` names them in the SELECT's order, each with its type: "i8" (bigint) or "f8" (float8). None of them may be
    NULL. Raises django.db.DatabaseError.
    """
    # One row of the format: the number of columns, then each with its length, all big-endian.
    fields = [("_columns", ">i2")]
    for name, kind in columns.items():
        fields += [(f"_length_{name}", ">i4"), (name, f">{kind}")]
    received = io.BytesIO()
    with connection.cursor() as cursor:
        statement = cursor.mogrify(f"COPY ({query}) TO STDOUT (FORMAT binary)", parameters)
        with connection.wrap_database_errors:  # Django's cursor does that for all but this
            cursor.copy_expert(statement, received)
    rows = np.frombuffer(received.getbuffer()[_HEADER:-_TRAILER], dtype=np.dtype(fields))
    return {name: rows[name].astype(kind) for name, kind in columns.items()}
