"""Candles in Postgres: written once, read as arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from django.db import connection, transaction

from engine.candles import STORE_SIZE, TIMEFRAMES, Candles, Float64s
from market.copying import copy_rows
from market.partitions import PartitionedTable, ensure_partition

LONG_TIMEFRAMES = ("1h", "4h")

Key = tuple[int, str]
"""(ticker id, timeframe)"""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Closed candles of one ticker and timeframe, oldest first.

    `rows` is an (n, 6) array of open_time, open, high, low, close, volume. `previous` is the open_time of the candle
    before the first of them, 0 where it is unknown: the candle store must hold it, or it has missed something.
    """

    ticker_id: int
    timeframe: str
    rows: Float64s
    previous: float = 0.0

    @property
    def key(self) -> Key:
        return self.ticker_id, self.timeframe


@dataclass(frozen=True, slots=True)
class Written:
    """How many candles were new, and how many were there already with another value."""

    inserted: int = 0
    revised: int = 0


def candle_table(timeframe: str) -> PartitionedTable:
    """The partitions of one timeframe: a day each, of 1h and 4h a year each."""
    return PartitionedTable(f"market_candle_{timeframe}", "year" if timeframe in LONG_TIMEFRAMES else "day")


_INSERT = """
INSERT INTO market_candle (ticker_id, timeframe, open_time, open, high, low, close, volume, received_at)
SELECT ticker_id, timeframe, to_timestamp(open_time / 1000), open, high, low, close, volume, %s
FROM unnest(%s::bigint[], %s::text[], %s::float8[], %s::float8[], %s::float8[], %s::float8[], %s::float8[], %s::float8[])
    AS given (ticker_id, timeframe, open_time, open, high, low, close, volume)
ON CONFLICT DO NOTHING
RETURNING ticker_id, timeframe, (extract(epoch FROM open_time) * 1000)::float8
"""

# A built candle's volume is a sum, which may differ from the exchange's own in the last bits: that is no revision.
# The same later value, seen again, is not written again.
_INSERT_REVISIONS = """
INSERT INTO market_candlerevision (ticker_id, timeframe, open_time, seen_at, open, high, low, close, volume)
SELECT ticker_id, timeframe, to_timestamp(open_time / 1000), %s, open, high, low, close, volume
FROM unnest(%s::bigint[], %s::text[], %s::float8[], %s::float8[], %s::float8[], %s::float8[], %s::float8[], %s::float8[])
    AS given (ticker_id, timeframe, open_time, open, high, low, close, volume)
WHERE NOT EXISTS (
    SELECT FROM market_candle AS first
    WHERE first.ticker_id = given.ticker_id AND first.timeframe = given.timeframe
        AND first.open_time = to_timestamp(given.open_time / 1000)
        AND (first.open, first.high, first.low, first.close) = (given.open, given.high, given.low, given.close)
        AND abs(first.volume - given.volume) <= 1e-9 * abs(given.volume)
) AND NOT EXISTS (
    SELECT FROM market_candlerevision AS known
    WHERE known.ticker_id = given.ticker_id AND known.timeframe = given.timeframe
        AND known.open_time = to_timestamp(given.open_time / 1000)
        AND (known.open, known.high, known.low, known.close, known.volume)
            = (given.open, given.high, given.low, given.close, given.volume)
)
ON CONFLICT DO NOTHING
"""


def write_candles(blocks: Sequence[Block], *, received_at: datetime) -> Written:
    """Writes the candles that are not there yet; a different value for one that is becomes a CandleRevision.

    Doing it twice, or beside another writer, changes nothing. All or nothing; raises django.db.DatabaseError.
    """
    blocks = [block for block in blocks if len(block.rows)]
    if not blocks:
        return Written()
    _ensure_partitions(blocks)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_INSERT, [received_at, *_columns(blocks)])
        inserted = set(cursor.fetchall())
        if len(inserted) == sum(len(block.rows) for block in blocks):
            return Written(inserted=len(inserted))
        known = [_without(block, inserted) for block in blocks]
        return Written(len(inserted), _write_revisions(known, received_at))


def write_revisions(blocks: Sequence[Block], *, seen_at: datetime) -> int:
    """Records values that came after their candle was settled, where they differ from it; returns how many did."""
    with transaction.atomic():
        return _write_revisions(blocks, seen_at)


def _write_revisions(blocks: Sequence[Block], seen_at: datetime) -> int:
    blocks = [block for block in blocks if len(block.rows)]
    if not blocks:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_INSERT_REVISIONS, [seen_at, *_columns(blocks)])
        return int(cursor.rowcount)


def _without(block: Block, inserted: set[tuple[int, str, float]]) -> Block:
    is_known = [(block.ticker_id, block.timeframe, at) not in inserted for at in block.rows[:, 0].tolist()]
    return Block(block.ticker_id, block.timeframe, block.rows[is_known])


def _columns(blocks: Sequence[Block]) -> list[str | list[str]]:
    """Array literals of ticker_id, timeframe and the six columns: far cheaper than psycopg2's adapting of each number."""
    lengths = [len(block.rows) for block in blocks]
    rows = np.concatenate([block.rows for block in blocks])
    ticker_ids = np.repeat([block.ticker_id for block in blocks], lengths)
    timeframes = [block.timeframe for block, length in zip(blocks, lengths, strict=True) for _ in range(length)]
    return [_literal(ticker_ids.tolist()), timeframes, *(_literal(column.tolist()) for column in rows.T)]


def _literal(numbers: Iterable[float]) -> str:
    return "{" + ",".join(map(repr, numbers)) + "}"


def _ensure_partitions(blocks: Sequence[Block]) -> None:
    for timeframe in {block.timeframe for block in blocks}:
        table = candle_table(timeframe)
        days = np.concatenate([block.rows[:, 0] for block in blocks if block.timeframe == timeframe]) // 86_400_000
        for day in np.unique(days).tolist():
            ensure_partition(table, datetime.fromtimestamp(day * 86_400, UTC))


def load_candles(
    ticker_id: int, timeframe: str, closed_up_to: datetime | None = None, limit: int = STORE_SIZE
) -> Candles:
    """The newest `limit` candles of one ticker that closed at or before an instant (None: all). Oldest first."""
    return load_newest([ticker_id], timeframe, closed_up_to=closed_up_to, limit=limit)[ticker_id]


# ORDER BY ... LIMIT walks the partitions from the newest and stops when it has enough.
_NEWEST = """
SELECT wanted.id, (extract(epoch FROM open_time) * 1000)::float8, open, high, low, close, volume
FROM unnest(%s::bigint[]) AS wanted (id) CROSS JOIN LATERAL (
    SELECT open_time, open, high, low, close, volume FROM market_candle
    WHERE ticker_id = wanted.id AND timeframe = %s AND open_time <= %s
    ORDER BY open_time DESC LIMIT %s
) AS newest
ORDER BY 1, 2
"""
_COLUMNS = {"ticker_id": "i8"} | dict.fromkeys("tohlcv", "f8")


def load_newest(
    ticker_ids: Collection[int], timeframe: str, *, closed_up_to: datetime | None = None, limit: int = STORE_SIZE
) -> dict[int, Candles]:
    """The newest `limit` candles of each ticker (empty where it has none), oldest first."""
    ids = list(dict.fromkeys(ticker_ids))
    until = datetime.max.replace(tzinfo=UTC)
    if closed_up_to is not None:
        until = closed_up_to - timedelta(milliseconds=TIMEFRAMES[timeframe])
    copied = copy_rows(_NEWEST, [ids, timeframe, until, limit], _COLUMNS)
    rows = np.column_stack([copied[name] for name in "tohlcv"])
    owners = copied["ticker_id"]
    starts = np.searchsorted(owners, ids, side="left")
    ends = np.searchsorted(owners, ids, side="right")
    return {
        ticker_id: Candles.from_rows(rows[start:end], timeframe)
        for ticker_id, start, end in zip(ids, starts, ends, strict=True)
    }


_LAST = """
SELECT id, timeframe, (extract(epoch FROM last.open_time) * 1000)::float8
FROM unnest(%s::bigint[]) AS wanted (id) CROSS JOIN unnest(%s::text[]) AS wanted_too (timeframe)
CROSS JOIN LATERAL (
    SELECT open_time FROM market_candle
    WHERE ticker_id = wanted.id AND market_candle.timeframe = wanted_too.timeframe
    ORDER BY open_time DESC LIMIT 1
) AS last
"""


def last_open_times(ticker_ids: Collection[int], timeframes: Collection[str]) -> dict[Key, float]:
    """(ticker id, timeframe) -> opening instant of the newest candle, ms since 1970 UTC. Those without any are left out."""
    with connection.cursor() as cursor:
        cursor.execute(_LAST, [list(ticker_ids), list(timeframes)])
        return {(ticker_id, timeframe): at for ticker_id, timeframe, at in cursor.fetchall()}
