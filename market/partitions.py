"""Partitions of the large tables: made by the writer before it writes, dropped by `prune`. There is no DEFAULT one."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from django.db import OperationalError, connection, transaction

logger = logging.getLogger(__name__)

LOCK_TRIES = 5
# How long dropping one partition may wait for older transactions: a backup, an open psql.
PATIENCE_S = 60

State = Literal["attached", "detaching", "detached"]

# What this process knows to exist; only committed partitions enter.
_known: set[str] = set()


@dataclass(frozen=True, slots=True)
class PartitionedTable:
    """A table partitioned by RANGE over a timestamptz column, one partition per UTC day or year."""

    name: str
    step: Literal["day", "year"]

    def bounds(self, at: datetime) -> tuple[datetime, datetime]:
        """The first instant of the partition that `at` falls into, and of the next one."""
        midnight = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self.step == "day":
            return midnight, midnight + timedelta(days=1)
        first = midnight.replace(month=1, day=1)
        return first, first.replace(year=first.year + 1)

    def partition(self, at: datetime) -> str:
        """The name of the partition that `at` falls into, e.g. signals_tickerrun_20261121."""
        first, _ = self.bounds(at)
        return f"{self.name}_{first:%Y%m%d}" if self.step == "day" else f"{self.name}_{first:%Y}"


def ensure_partition(table: PartitionedTable, at: datetime) -> None:
    """Makes the partition that `at` falls into, if it is not there. Safe beside any number of writers.

    The partition is created on its own and then attached, which does not block inserts into the others. Raises
    OperationalError when the lock is not to be had in five tries of two seconds.
    """
    name = table.partition(at)
    if name in _known:
        return
    for attempt in range(1, LOCK_TRIES + 1):
        try:
            with transaction.atomic():
                _create_and_attach(table, at, name)
                transaction.on_commit(lambda: _known.add(name))
            return
        except OperationalError:
            if attempt == LOCK_TRIES or connection.in_atomic_block:
                raise
            logger.warning("partition %s: the table is locked, trying again (%d of %d)", name, attempt, LOCK_TRIES)
            time.sleep(0.2 * attempt)


def _create_and_attach(table: PartitionedTable, at: datetime, name: str) -> None:
    first, following = table.bounds(at)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        # One maker at a time per partition; the others then find it attached.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [name])
        cursor.execute("SELECT 1 FROM pg_inherits WHERE inhrelid = to_regclass(%s)", [name])
        if cursor.fetchone() is None:
            parent, child = (connection.ops.quote_name(table.name), connection.ops.quote_name(name))
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS {child} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS "
                "INCLUDING INDEXES INCLUDING STORAGE)"
            )
            cursor.execute(
                f"ALTER TABLE {parent} ATTACH PARTITION {child} FOR VALUES FROM (%s) TO (%s)", [first, following]
            )
        cursor.execute("SET LOCAL lock_timeout TO DEFAULT")


def drop_partitions(table: PartitionedTable, *, before: datetime) -> list[str]:
    """Drops the partitions that end at or before `before`; returns their names.

    Detaching concurrently waits for running queries instead of blocking new ones, so it cannot run in a transaction. One
    that waits too long is given up and finished by a later call, as is one that was interrupted half-way.
    """
    dropped = []
    for name, state in _find(table):
        if _end_of(table, name) > before:
            continue
        try:
            _drop(table, name, state)
        except OperationalError as error:
            logger.warning("partition %s could not be dropped, the next prune tries again: %s", name, error)
        else:
            _known.discard(name)
            dropped.append(name)
    return dropped


def _drop(table: PartitionedTable, name: str, state: State) -> None:
    parent, child = (connection.ops.quote_name(table.name), connection.ops.quote_name(name))
    with connection.cursor() as cursor:
        # Waiting for older transactions is a wait for locks: the process's own patience is far too short for it.
        cursor.execute(f"SET statement_timeout = '{PATIENCE_S}s'; SET lock_timeout = 0")
        try:
            if state == "detaching":
                cursor.execute(f"ALTER TABLE {parent} DETACH PARTITION {child} FINALIZE")
            elif state == "attached":
                concurrently = "" if connection.in_atomic_block else "CONCURRENTLY"
                cursor.execute(f"ALTER TABLE {parent} DETACH PARTITION {child} {concurrently}")
            cursor.execute(f"DROP TABLE {child}")
        finally:
            if not connection.needs_rollback:
                cursor.execute("RESET statement_timeout; RESET lock_timeout")


def list_partitions(table: PartitionedTable) -> list[str]:
    """The names of the table's partitions, oldest first."""
    return [name for name, state in _find(table) if state == "attached"]


def _find(table: PartitionedTable) -> list[tuple[str, State]]:
    """Every partition by its name, oldest first, also those that an interrupted prune has left behind."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT child.relname, CASE WHEN inhparent IS NULL THEN 'detached' WHEN inhdetachpending THEN 'detaching' "
            "ELSE 'attached' END "
            "FROM pg_class child LEFT JOIN pg_inherits ON inhrelid = child.oid "
            "WHERE child.relkind = 'r' AND child.relname ~ %s ORDER BY child.relname",
            [f"^{table.name}_[0-9]{{{8 if table.step == 'day' else 4}}}$"],
        )
        rows: list[tuple[str, State]] = cursor.fetchall()
        return rows


def _end_of(table: PartitionedTable, name: str) -> datetime:
    day = name.removeprefix(f"{table.name}_")
    first = datetime.strptime(day, "%Y%m%d" if table.step == "day" else "%Y").replace(tzinfo=UTC)
    return table.bounds(first)[1]
