"""What must be true of the database after every fault: one statement that names each violation and shows one of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from workers.chaos.audience import Commit

Query = Callable[..., list[tuple[Any, ...]]]
"""`Product.query`: a statement and its values, to rows."""

# What is checked, in the words of the report; the last column of each SELECT is one example.
FIND_VIOLATIONS = """
WITH given AS (
    SELECT %s::timestamptz AS since, %s::timestamptz AS until, %s * interval '1 second' AS period
), due AS (
    SELECT generate_series(since, until, period) AS slot FROM given
), sweep AS (
    SELECT sweep.* FROM signals_sweep sweep, given WHERE feed = 'central' AND slot BETWEEN since AND until
), covered AS (
    SELECT sweep.id AS sweep_id, sweep.slot, unnest(sweep.ticker_ids) AS ticker_id FROM sweep WHERE status = 'closed'
), receipt AS (
    SELECT run.* FROM signals_tickerrun run JOIN sweep ON run.slot = sweep.slot AND run.sweep_id = sweep.id
), running AS (
    SELECT unnest(configuration_ids) AS configuration_id, max(slot) AS slot FROM sweep WHERE status = 'closed' GROUP BY 1
), verdict AS (
    SELECT result.configuration_id, result.ticker_id, result.candle_closed_at, result.signal, result.slot,
           configuration.timeframe::interval AS length,
           lag(result.signal) OVER line AS before, lag(result.candle_closed_at) OVER line AS before_at,
           row_number() OVER (line ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS number
    FROM signals_signalresult result JOIN signals_configuration configuration ON configuration.id = configuration_id
    WINDOW line AS (PARTITION BY configuration_id, ticker_id ORDER BY candle_closed_at)
), newest AS (
    SELECT DISTINCT ON (configuration_id, ticker_id) * FROM signals_signalresult
    ORDER BY configuration_id, ticker_id, candle_closed_at DESC
), minute AS (
    SELECT generate_series(date_trunc('minute', since) + interval '1 minute', until, '1 minute') AS closed_at FROM given
), violation AS (
    SELECT 'slot never run' AS name, due.slot::text AS example FROM due
    WHERE NOT EXISTS (SELECT 1 FROM sweep WHERE sweep.slot = due.slot)
  UNION ALL SELECT 'slot missed', slot::text || ' ' || note FROM sweep WHERE status = 'missed'
  UNION ALL SELECT 'slot not closed', slot::text FROM sweep WHERE status = 'open'
  UNION ALL SELECT 'slot run twice', feed || ' ' || slot::text FROM signals_sweep GROUP BY feed, slot HAVING count(*) > 1
  UNION ALL SELECT 'receipt absent', slot::text || ' ticker ' || ticker_id FROM covered
    WHERE NOT EXISTS (SELECT 1 FROM receipt r WHERE (r.sweep_id, r.ticker_id) = (covered.sweep_id, covered.ticker_id))
  UNION ALL SELECT 'receipt twice', slot::text || ' ticker ' || ticker_id FROM receipt
    GROUP BY slot, sweep_id, ticker_id HAVING count(*) > 1
  UNION ALL SELECT 'receipt of a ticker not covered', receipt.slot::text || ' ticker ' || ticker_id
    FROM receipt JOIN sweep ON sweep.id = sweep_id WHERE NOT ticker_id = ANY(sweep.ticker_ids)
  UNION ALL SELECT 'receipt says missing', slot::text || ' ticker ' || ticker_id FROM receipt WHERE status = 'missing'
  UNION ALL SELECT 'sums of a sweep wrong', slot::text FROM sweep WHERE status = 'closed'
    AND (ok + stale + failed + missing <> cardinality(ticker_ids)
         OR results <> (SELECT coalesce(sum(r.results), 0) FROM receipt r WHERE r.sweep_id = sweep.id))
  UNION ALL SELECT 'verdict twice', min(slot)::text || ' ' || configuration_id || ' ' || ticker_id
    FROM signals_signalresult GROUP BY configuration_id, ticker_id, candle_closed_at HAVING count(*) > 1
  UNION ALL SELECT 'verdict absent', running.configuration_id || ' ' || candle.ticker_id || ' ' || candle.open_time
    FROM market_candle candle JOIN market_ticker ticker ON ticker.id = candle.ticker_id AND ticker.is_followed
    CROSS JOIN given
    JOIN running ON candle.open_time + interval '1 minute' BETWEEN since AND running.slot
    JOIN signals_configuration configuration ON configuration.id = running.configuration_id
    WHERE candle.timeframe = '1m' AND configuration.timeframe = '1m' AND NOT EXISTS (
        SELECT 1 FROM signals_signalresult r WHERE r.configuration_id = running.configuration_id
        AND r.ticker_id = candle.ticker_id AND r.candle_closed_at = candle.open_time + interval '1 minute')
  UNION ALL SELECT 'verdict without its candle', r.configuration_id || ' ' || r.ticker_id || ' ' || r.candle_closed_at
    FROM signals_signalresult r JOIN signals_configuration c ON c.id = r.configuration_id CROSS JOIN given
    WHERE r.candle_closed_at >= since AND NOT EXISTS (
        SELECT 1 FROM market_candle candle WHERE candle.ticker_id = r.ticker_id AND candle.timeframe = c.timeframe
        AND candle.open_time = r.candle_closed_at - c.timeframe::interval)
  UNION ALL SELECT 'candle absent', ticker.symbol || ' ' || minute.closed_at FROM minute CROSS JOIN market_ticker ticker
    WHERE ticker.is_followed AND NOT EXISTS (
        SELECT 1 FROM market_candle candle WHERE candle.ticker_id = ticker.id AND candle.timeframe = '1m'
        AND candle.open_time = minute.closed_at - interval '1 minute')
  UNION ALL SELECT 'newest verdict wrong', newest.configuration_id || ' ' || newest.ticker_id
    FROM newest FULL JOIN signals_latestsignal latest
    ON (latest.configuration_id, latest.ticker_id) = (newest.configuration_id, newest.ticker_id)
    WHERE (newest.candle_closed_at, newest.signal, newest.value, newest.price)
        IS DISTINCT FROM (latest.candle_closed_at, latest.signal, latest.value, latest.price)
  UNION ALL SELECT 'call absent', configuration_id || ' ' || ticker_id || ' ' || candle_closed_at FROM verdict
    WHERE signal <> 'DO NOTHING' AND before <> signal AND before_at = candle_closed_at - length AND NOT EXISTS (
        SELECT 1 FROM signals_call call WHERE (call.configuration_id, call.ticker_id, call.candle_closed_at, call.signal)
            = (verdict.configuration_id, verdict.ticker_id, verdict.candle_closed_at, verdict.signal))
  UNION ALL SELECT 'call without a turn', configuration_id || ' ' || ticker_id || ' ' || candle_closed_at
    FROM signals_call call WHERE NOT EXISTS (
        SELECT 1 FROM verdict WHERE (call.configuration_id, call.ticker_id, call.candle_closed_at, call.signal)
            = (verdict.configuration_id, verdict.ticker_id, verdict.candle_closed_at, verdict.signal)
        AND (before IS NULL OR before <> verdict.signal OR before_at <> verdict.candle_closed_at - length))
)
SELECT name, count(*), min(example) FROM violation GROUP BY name ORDER BY name
"""

# Rows that are never changed again, each as one number.
DIGESTS = {
    "sweeps": "SELECT hashtextextended(t::text, 0) FROM signals_sweep t WHERE status <> 'open'",
    "receipts": "SELECT hashtextextended(t::text, 0) FROM signals_tickerrun t",
    "verdicts": "SELECT hashtextextended(t::text, 0) FROM signals_signalresult t",
    "calls": "SELECT hashtextextended(t::text, 0) FROM signals_call t",
    "candles": "SELECT hashtextextended(t::text, 0) FROM market_candle t WHERE open_time >= %s",
}

FIND_COMMITS = """
SELECT result.configuration_id, ticker.symbol, (extract(epoch FROM result.candle_closed_at) * 1000)::bigint,
       result.signal, extract(epoch FROM pg_xact_commit_timestamp(result.xmin))::float8
FROM signals_signalresult result JOIN market_ticker ticker ON ticker.id = result.ticker_id
WHERE result.configuration_id = ANY(
    SELECT unnest(configuration_ids) FROM signals_sweep WHERE feed = 'central' AND status <> 'missed')
"""


@dataclass(frozen=True, slots=True)
class Violation:
    """One kind of thing that must not be, how often it is, and where it can be looked at."""

    name: str
    count: int
    example: str


def violations(query: Query, *, since: datetime, until: datetime, period: float) -> list[Violation]:
    """Everything that is wrong with the central feed's slots from `since` to `until`, both due, `period` seconds apart."""
    return [Violation(*row) for row in query(FIND_VIOLATIONS, since, until, period)]


class Kept:
    """The rows there are at one moment: later all of them must still be there, unchanged."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._since = datetime.now(UTC) - timedelta(hours=1)  # of the candles: there are a thousand for each ticker
        self._rows = self._read()

    def lost(self) -> dict[str, int]:
        """By table, how many of the rows are gone or changed."""
        now = self._read()
        return {table: len(rows - now[table]) for table, rows in self._rows.items() if rows - now[table]}

    @property
    def number(self) -> int:
        """How many rows are watched over."""
        return sum(len(rows) for rows in self._rows.values())

    def _read(self) -> dict[str, set[int]]:
        return {
            table: {number for (number,) in self._query(statement, *[self._since] * statement.count("%s"))}
            for table, statement in DIGESTS.items()
        }


def commits(query: Query) -> Sequence[Commit]:
    """Every verdict of the central feed with the instant of its commit (Postgres' track_commit_timestamp)."""
    return [
        Commit((configuration, symbol, closed_at), signal, at)
        for configuration, symbol, closed_at, signal, at in query(FIND_COMMITS)
    ]
