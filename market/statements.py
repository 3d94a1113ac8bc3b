"""Statements that Postgres plans once for each connection, instead of once for each time they are sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from django.db import DatabaseError, connection
from django.db.backends.utils import CursorWrapper
from psycopg2.errors import InvalidSqlStatementName


class Statement:
    """A statement with named places, as in `%(slot)s`, which are all of its `types`: name -> Postgres' name of its type.

    Worth it where planning costs more than running: few rows at a time, many tables. `name` must be the process's only one.
    """

    def __init__(self, name: str, text: str, types: Mapping[str, str]) -> None:
        self._name = name
        self._text = text
        numbered = {place: f"${number}" for number, place in enumerate(types, start=1)}
        self._prepare = f"PREPARE {name} ({', '.join(types.values())}) AS {text % numbered}"
        self._execute = f"EXECUTE {name} ({', '.join(f'%({place})s' for place in types)})"
        self._prepared_on: WeakSet[Any] = WeakSet()  # psycopg2's connections, which end before the process does

    def execute(self, cursor: CursorWrapper, values: Mapping[str, Any]) -> None:
        """Runs it on a cursor of the default connection."""
        # PgBouncer gives the next statement another connection, which knows of nothing.
        if connection.settings_dict["DISABLE_SERVER_SIDE_CURSORS"]:
            cursor.execute(self._text, values)
            return
        if cursor.connection not in self._prepared_on:
            # Asked for, because a task's time limit may strike between the two lines that prepare it and note that.
            cursor.execute("SELECT 1 FROM pg_prepared_statements WHERE name = %s", [self._name])
            if cursor.fetchone() is None:
                cursor.execute(self._prepare)
            self._prepared_on.add(cursor.connection)
        try:
            cursor.execute(self._execute, values)
        except DatabaseError as error:
            if isinstance(
                error.__cause__, InvalidSqlStatementName
            ):  # the server has forgotten it: prepared anew next time
                self._prepared_on.discard(cursor.connection)
            raise
