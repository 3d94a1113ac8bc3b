"""Where a fault happens: the installation, its audience, and how one sees that everything is normal."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2

from workers.chaos.audience import AWAY, Audience, Commit, Heard, Watcher, check
from workers.chaos.installation import Installation
from workers.chaos.invariants import commits
from workers.chaos.memory import Memory

# A slot this old must be closed, three periods of the 5 s rhythm: beat keeps an interval's length but no grid, so it sends a
# slot up to one period after its instant; a look that comes just before its last ticker is done leaves it to the next one.
GRACE = 15.0
LOOK_EVERY = 0.25
# So long everything must have been normal, to have been normal from the beginning of that time on: by then each slot of before
# is so old that it must be closed, and what holds of it is asked in the round of its fault.
QUIET = GRACE + 6.0

FIND_LATE_SLOT = """
SELECT min(due)::text FROM generate_series(%s::timestamptz, %s::timestamptz, %s * interval '1 second') AS due
WHERE NOT EXISTS (SELECT 1 FROM signals_sweep WHERE feed = 'central' AND slot = due AND status <> 'open')
"""
FIND_BAD_SWEEP = """
SELECT slot::text || ': ' || ok || ' ok, ' || stale || ' stale, ' || failed || ' failed, ' || missing || ' missing'
FROM (SELECT * FROM signals_sweep WHERE feed = 'central' AND status = 'closed' ORDER BY slot DESC LIMIT 1) newest
WHERE ok <> cardinality(ticker_ids)
"""


@dataclass
class Stage:
    """What a fault may use. `since`: the first slot that counts."""

    installation: Installation
    audience: Audience
    cookies: list[str]
    memory: Memory
    period: int
    chance: random.Random
    say: Callable[[str], None]
    since: datetime
    checked: float = field(default_factory=time.time)

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self.installation.product.query(statement, *values)

    def settled(self) -> datetime:
        """The newest slot that must be closed by now."""
        ms = (time.time() - GRACE) // self.period * self.period
        return datetime.fromtimestamp(ms, UTC)

    def trouble(self) -> str:
        """What is not normal now; empty where nothing is."""
        if gone := self.installation.missing_processes():
            return f"{', '.join(gone)} not running"
        try:
            until = self.settled()
            since = max(self.since, until - timedelta(minutes=2))
            [(late,)] = self.query(FIND_LATE_SLOT, since, until, self.period)
            bad = self.query(FIND_BAD_SWEEP)
        except psycopg2.Error as problem:
            return f"Postgres: {str(problem).strip().splitlines()[0]}"
        if late is not None:
            return f"the slot {late} is not closed"
        if bad:
            return f"sweep {bad[0][0]}"
        return self._deaf(self.audience.watchers)

    def _deaf(self, watchers: list[Watcher]) -> str:
        """A socket without news: its last closed sweep lies further back than a closed sweep may be in coming."""
        oldest = (time.time() - GRACE - self.period) * 1000
        deaf = [one for one in watchers if not one.is_connected or (one.since or 0) < oldest]
        return f"{len(deaf)} sockets without news (one of them: {deaf[0].trouble or 'connected'})" if deaf else ""

    def wait_until_normal(self, *, within: float) -> tuple[float, str]:
        """Seconds from now until everything was normal and stayed so; and what was wrong last.

        Infinity, with what is still wrong, where that takes longer than `within`.
        """
        started = last_bad = time.monotonic()
        trouble = ""
        while True:
            now = time.monotonic()
            if found := self.trouble():
                trouble, last_bad = found, time.monotonic()
                if now - started > within:
                    return float("inf"), trouble
            elif now - last_bad > QUIET:
                return last_bad - started, trouble
            time.sleep(LOOK_EVERY)

    def wait_for_slot(self, *, minute: bool) -> None:
        """Until just after a slot, or just after one at which candles close: a sweep is on its way then."""
        step = 60 if minute else self.period
        time.sleep(step - time.time() % step + self.chance.uniform(0.0, 0.7))

    def wait_at_random(self) -> None:
        """Until any moment of the rhythm."""
        time.sleep(self.chance.uniform(0, self.period))

    def heard(self) -> Heard:
        """The sockets' check over what was committed since the last call."""
        asked_at = time.time()
        stored: list[Commit] = list(commits(self.installation.product.query))
        found = check(self.audience.watchers, stored, since=self.checked, asked_at=asked_at)
        self.checked = asked_at
        for one in self.audience.watchers:
            one.forget(asked_at - AWAY)
        return found
