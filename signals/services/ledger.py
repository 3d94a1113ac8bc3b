"""The hash chain over the public calls: who kept a day's digest can prove that nothing before it was rewritten.

A day's text is one line per call published on it (UTC, the market's clock), in the order of their numbers. Its digest is
SHA-256 over the previous day's digest, a line feed, and the text. So a shell can check it, with the text as published:

    (echo "$PREVIOUS"; cat 2026-11-25.txt) | sha256sum
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

from django.db import connection

from market.copying import unhurried
from signals.models import LedgerEntry
from signals.services.scoring import LATEST_PUBLICATION

GENESIS = "0" * 64
# What was published before midnight may be committed a little after it.
SETTLED_AFTER = timedelta(minutes=10)

# Only what is public, so that everybody can check it; of whatever exchange, so that a chain survives another one.
# A number is written as Postgres does: the shortest text that reads back as the same float64.
_LINES = """
SELECT concat_ws('|', call.id, ticker.exchange, ticker.symbol, configuration.digest, call.algorithm_version,
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
ORDER BY call.id LIMIT %(limit)s
"""
_ISO = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
FIELDS = (
    "id", "exchange", "ticker", "configuration", "version", "signal", "previous_signal", "candle_closed_at", "slot",
    "published_at", "price", "value", "candles_digest",
)  # fmt: skip
_FIRST = "SELECT min(published_at) FROM (SELECT published_at FROM signals_call ORDER BY id LIMIT 1000) AS oldest"


def lines_of(day: date, *, after: int = 0, limit: int | None = None) -> Iterator[str]:
    """The text of a day, line by line: FIELDS of each public call published on it, joined by |, each with a line feed.

    `after`: only calls of higher numbers; `limit`: at most so many.
    """
    start = datetime.combine(day, time(), UTC)
    end = start + timedelta(days=1)
    values: dict[str, str | datetime | int | None] = {
        "iso": _ISO,
        "start": start,
        "end": end,
        "earliest": start - LATEST_PUBLICATION - timedelta(days=1),
        "after": after,
        "limit": limit,
    }
    with connection.cursor() as cursor:
        cursor.execute(_LINES, values)
        while rows := cursor.fetchmany(10_000):
            for (line,) in rows:
                yield f"{line}\n"


def link(previous_digest: str, lines: Iterator[str]) -> tuple[int, str]:
    """How many calls these lines are, and the digest of the day that consists of them."""
    sha = hashlib.sha256(f"{previous_digest}\n".encode())
    count = 0
    for line in lines:
        sha.update(line.encode())
        count += 1
    return count, sha.hexdigest()


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
        newest = (market_now - SETTLED_AFTER).astimezone(UTC).date() - timedelta(days=1)
        while day is not None and day <= newest:
            previous, (calls, digest) = digest, link(digest, lines_of(day))
            added.append(
                LedgerEntry.objects.create(day=day, calls=calls, previous_digest=previous, digest=digest, made_at=now)
            )
            day += timedelta(days=1)
    return added


def _first_day() -> date | None:
    with connection.cursor() as cursor:
        cursor.execute(_FIRST)
        (first,) = cursor.fetchone()
    return None if first is None else first.astimezone(UTC).date()


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
    calls, digest = link(entry.previous_digest, lines_of(entry.day))
    if digest != entry.digest:
        return f"{calls:,} calls make {digest[:12]}…; the ledger has {entry.calls:,} calls and {entry.digest[:12]}…"
    return ""
