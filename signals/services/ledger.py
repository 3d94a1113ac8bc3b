"""The hash chain over the public calls: who kept a day's digest can prove that nothing before it was rewritten.

A day's text is one line per call published on it (UTC, the market's clock), in the order of their numbers. Its digest is
SHA-256 over the previous day's digest, a line feed, and the text. So a shell can check it, with the text as published:

    (echo "$PREVIOUS"; cat 2026-11-25.txt) | sha256sum
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import connection

from market.copying import unhurried
from signals.models import CentralSpan, LedgerEntry
from signals.services.scoring import LATEST_PUBLICATION

GENESIS = "0" * 64
PART = 20_000  # lines that are held at once

# Only what is public, so that everybody can check it; of whatever exchange, so that a chain survives another one.
# A number is written as Postgres does: the shortest text that reads back as the same float64.
_LINES = """
SELECT call.id, concat_ws('|', call.id, ticker.exchange, ticker.symbol, configuration.digest, call.algorithm_version,
                 call.signal, call.previous_signal, to_char(call.candle_closed_at AT TIME ZONE 'UTC', %(iso)s),
                 to_char(call.slot AT TIME ZONE 'UTC', %(iso)s), to_char(call.published_at AT TIME ZONE 'UTC', %(iso)s),
                 call.price, coalesce(call.value::text, ''), encode(call.candles_digest, 'hex'))
FROM signals_call AS call
JOIN market_ticker AS ticker ON ticker.id = call.ticker_id
JOIN signals_configuration AS configuration ON configuration.id = call.configuration_id
JOIN signals_centralspan AS span ON span.configuration_id = call.configuration_id
    AND call.slot >= span.since AND (span.until IS NULL OR call.slot < span.until)
WHERE call.candle_closed_at >= %(earliest)s AND call.candle_closed_at < %(end)s
    AND call.published_at >= %(start)s AND call.published_at < %(end)s AND call.id > %(after)s
    AND (%(through)s::bigint IS NULL OR call.id <= %(through)s)
ORDER BY call.id LIMIT %(limit)s
"""
_ISO = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
FIELDS = (
    "id", "exchange", "ticker", "configuration", "version", "signal", "previous_signal", "candle_closed_at", "slot",
    "published_at", "price", "value", "candles_digest",
)  # fmt: skip


def lines_of(day: date, *, after: int = 0, through: int | None = None, limit: int | None = None) -> Iterator[str]:
    """The text of a day, line by line: FIELDS of each public call published on it, joined by |, each with a line feed.

    `after`, `through`: only calls of higher numbers, and up to this one; `limit`: at most so many.
    """
    start = datetime.combine(day, time(), UTC)
    end = start + timedelta(days=1)
    values: dict[str, str | datetime | int | None] = {
        "iso": _ISO,
        "start": start,
        "end": end,
        "earliest": start - LATEST_PUBLICATION - timedelta(days=1),
        "through": through,
    }
    left = limit
    while left is None or left > 0:
        size = PART if left is None else min(PART, left)
        with connection.cursor() as cursor:
            cursor.execute(_LINES, values | {"after": after, "limit": size})
            rows = cursor.fetchall()
        yield from (f"{line}\n" for _, line in rows)
        if len(rows) < size:
            return
        after, left = rows[-1][0], None if left is None else left - size


class Link(NamedTuple):
    """What a day's text makes of the digest before."""

    calls: int
    first_call: int | None
    last_call: int | None
    digest: str


def link(previous_digest: str, lines: Iterator[str]) -> Link:
    """The link of the day that consists of these lines."""
    sha = hashlib.sha256(f"{previous_digest}\n".encode())
    count, first, last = 0, "", ""
    for line in lines:
        sha.update(line.encode())
        count, first, last = count + 1, first or line, line
    return Link(count, _number_of(first), _number_of(last), sha.hexdigest())


def _number_of(line: str) -> int | None:
    return int(line.partition("|")[0]) if line else None


def write_ledger(*, market_now: datetime, now: datetime) -> list[LedgerEntry]:
    """Adds the links of the days that are over and have none, oldest first; a day without calls has one, too.

    Safe to repeat and to race.
    """
    added: list[LedgerEntry] = []
    with unhurried(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('ledger'))")
        last = LedgerEntry.objects.order_by("day").last()
        day = last.day + timedelta(days=1) if last else _first_day()
        digest = last.digest if last else GENESIS
        # A link is for ever: a clock that is wrong must not seal a day that is not over. A simulated market's may run ahead.
        at = market_now if settings.IS_SIMULATED else min(market_now, now)
        # What is in it becomes public with it; and what was published before midnight may be committed a little later.
        newest = (at - settings.PUBLIC_DELAY).astimezone(UTC).date() - timedelta(days=1)
        while day is not None and day <= newest:
            made = link(digest, lines_of(day))
            added.append(LedgerEntry.objects.create(day=day, previous_digest=digest, made_at=now, **made._asdict()))
            digest = made.digest
            day += timedelta(days=1)
    return added


def _first_day() -> date | None:
    """From when on calls can be public: so each of them is in some day's text."""
    first = CentralSpan.objects.order_by("since").first()
    return None if first is None else first.since.astimezone(UTC).date()


def check_ledger() -> Iterator[tuple[LedgerEntry, str]]:
    """Each link of the chain, oldest first, with what is wrong with it; empty where it stands as it was made."""
    previous: LedgerEntry | None = None
    for entry in LedgerEntry.objects.order_by("day"):
        yield entry, _fault(entry, previous)
        previous = entry


def _fault(entry: LedgerEntry, previous: LedgerEntry | None) -> str:
    if previous is not None and entry.day != previous.day + timedelta(days=1):
        return f"the day before it is {previous.day}: days are missing between them"
    expected = GENESIS if previous is None else previous.digest
    if entry.previous_digest != expected:
        return f"it continues {entry.previous_digest[:12]}…, but the day before it ends with {expected[:12]}…"
    made = link(entry.previous_digest, lines_of(entry.day))
    if made.digest != entry.digest:
        return f"{made.calls:,} calls make {made.digest[:12]}…; the ledger has {entry.calls:,} calls and {entry.digest[:12]}…"
    return ""
