"""What the processes may ask of Postgres: how long at a time, and over how many connections. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

# Left free: three that Postgres keeps for its superuser, a backup, an operator's psql.
SPARE_CONNECTIONS = 10
# Threads of their own in each web process: for readiness, for the metrics, for the incidents.
WATCHING_THREADS = 3


@dataclass(frozen=True, slots=True)
class TimeOuts:
    """Seconds after which Postgres itself ends what takes too long; 0 is never."""

    statement: int = 0
    lock: int = 0
    idle_in_transaction: int = 0

    def settings(self) -> dict[str, str]:
        """By Postgres' own names, as SET and ALTER ROLE want the values."""
        return {
            "statement_timeout": f"{self.statement}s",
            "lock_timeout": f"{self.lock}s",
            "idle_in_transaction_session_timeout": f"{self.idle_in_transaction}s",
        }

    def options(self) -> str:
        """For the `options` of a connection."""
        return " ".join(f"-c {name}={value}" for name, value in self.settings().items())


# By the beginning of PROCESS_NAME. A worker's is below its tasks' soft limit of 30 s: the statement is cut, the task
# fails, and `close_sweeps` sends its tickers again. Pruning, which must wait for older transactions, sets its own.
TIME_OUTS = {
    "web": TimeOuts(statement=10, lock=3, idle_in_transaction=10),
    "worker": TimeOuts(statement=20, lock=5, idle_in_transaction=30),
    "beat": TimeOuts(statement=10, lock=3, idle_in_transaction=10),
    "heartbeat": TimeOuts(statement=30, lock=5, idle_in_transaction=30),
}


def time_outs(process: str) -> TimeOuts:
    """Those of the process of this name. Migrations, commands and a shell have none: somebody waits for them."""
    return next((found for name, found in TIME_OUTS.items() if process.startswith(name)), TimeOuts())


def most_connections(
    *,
    requests_at_once: int,
    socket_threads: int,
    webs: int = 1,
    sweep_workers: int = 1,
    other_workers: int = 1,
    record_workers: int = 1,
    concurrency: int = 2,
) -> dict[str, int]:
    """The most connections each kind of process can open at once, by the beginning of its PROCESS_NAME.

    `requests_at_once` is settings.WEB_REQUESTS_AT_ONCE and `socket_threads` is live.lifespan.THREADS + URGENT_THREADS, both of
    each web process; `concurrency` is Celery's `-c`, but of the record's worker, which has one process. Their sum must stay
    SPARE_CONNECTIONS below Postgres' max_connections.
    """
    web = requests_at_once + socket_threads + WATCHING_THREADS
    parent = 1  # who is asked by whoever inspects the worker
    workers = (sweep_workers + other_workers) * (concurrency + parent) + record_workers * (1 + parent)
    return {
        "web": webs * web,
        "worker": workers,
        "beat": 2,  # for a moment at its start, and whenever it connects again
        "heartbeat": 2,  # at its start it reads in one thread what another then writes
        "flower": 1,
        "boritrader": 3,  # commands by hand, and the containers' health checks
    }
