"""Rows of a month for `bench database` and the tests of plans: made in the database, in the order sweeps write them.

Every function runs inside the product, where Django has the bench's stores: workers.bench.inside.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path

from django.conf import settings
from django.db import connection, transaction
from django.test import override_settings

from engine.candles import TIMEFRAMES
from market.candles import candle_table
from market.models import Ticker
from market.partitions import drop_partitions, ensure_partition
from signals.models import CENTRAL, CentralSpan, Configuration, Horizon, Sweep
from signals.services.documents import build_documents
from signals.services.housekeeping import prune
from signals.services.results import RECEIPTS, RESULTS
from signals.services.tallies import rebuild_months

# The timeframes that come in whatever the operator chooses: 1m from the exchange, 2m for the central feed.
KEPT_TIMEFRAMES = ("1m", "2m")
# What has a partition for each day, by the name that a report has for it.
DAILY = {"verdicts": RESULTS, "receipts": RECEIPTS} | {f"candles {one}": candle_table(one) for one in KEPT_TIMEFRAMES}
# Scoring is so far behind the newest sweep: it has work to do, and the candles to do it with.
UNSCORED = timedelta(hours=6)
WRITERS = 2
TICKERS_PER_WRITE = 50

# What the statements below are filled with.
Values = Mapping[str, str | int | datetime | list[int]]

# Some tickers of one sweep, in the order of their writing. `h` is spread evenly over 0..99: of a hundred verdicts on random
# walks of 2m candles, six turn to BUY or SELL (twelve algorithms as delivered).
RESULTS_OF = """
INSERT INTO signals_signalresult
    (slot, configuration_id, ticker_id, candle_closed_at, signal, is_call, value, price, reason, candles_digest)
SELECT %(slot)s, configuration, ticker, %(slot)s,
    CASE WHEN h < 3 THEN 'BUY' WHEN h < 6 THEN 'SELL' ELSE 'DO NOTHING' END, h < 6,
    50 + h / 3.0, 100 + ticker / 7.0, '', decode(md5(ticker::text || %(slot)s::text), 'hex')
FROM (SELECT configuration, ticker, (ticker * 7919 + configuration * 104729 + %(number)s * 31) %% 100 AS h
      FROM unnest(%(tickers)s::bigint[]) AS ticker, unnest(%(configurations)s::bigint[]) AS configuration) AS pair
ON CONFLICT DO NOTHING
"""
RECEIPTS_OF = """
INSERT INTO signals_tickerrun (slot, sweep_id, ticker_id, status, error, results, calls, holes, duration_ms, finished_at)
SELECT %(slot)s, %(sweep)s, ticker, 'ok', '', cardinality(%(configurations)s::bigint[]), 0, 0, 0.8, %(slot)s
FROM unnest(%(tickers)s::bigint[]) AS ticker
ON CONFLICT DO NOTHING
"""
LATEST_OF = """
INSERT INTO signals_latestsignal AS latest
    (slot, configuration_id, ticker_id, candle_closed_at, signal, value, price, reason, called_signal, called_at)
SELECT %(slot)s, configuration, ticker, %(slot)s, 'DO NOTHING', 50, 100, '', 'BUY', %(slot)s
FROM unnest(%(tickers)s::bigint[]) AS ticker, unnest(%(configurations)s::bigint[]) AS configuration
ON CONFLICT (configuration_id, ticker_id) DO UPDATE SET slot = excluded.slot, candle_closed_at = excluded.candle_closed_at
WHERE latest.candle_closed_at < excluded.candle_closed_at
"""
CALLS_OF = """
INSERT INTO signals_call (slot, published_at, configuration_id, ticker_id, candle_closed_at, signal, previous_signal,
    value, price, candles_digest, algorithm_version)
SELECT slot, slot, configuration_id, ticker_id, candle_closed_at, signal, 'DO NOTHING', value, price, candles_digest, 1
FROM signals_signalresult
WHERE candle_closed_at = %(slot)s AND slot = %(slot)s AND is_call
ON CONFLICT DO NOTHING
"""
# Those with an exit from `since` to `until`, in the order of scoring: an index is as dense as that makes it.
OUTCOMES_OF = """
INSERT INTO signals_outcome (call_id, horizon, status, reason, entry_at, exit_at, entry_price, exit_price, fee_rate,
    net_return, hold_return, scored_at)
SELECT id, horizon, 'scored', '', entry_at, exit_at, price, price * (1 + moved), 0.001, moved - 0.002, moved - 0.002, exit_at
FROM (SELECT id, price, horizon, entry_at, entry_at + make_interval(mins => horizon) AS exit_at,
             ((id * 7919 + horizon * 31) %% 401 - 200) / 10000.0 AS moved
      FROM (SELECT id, price, date_trunc('minute', published_at) + interval '1 minute' AS entry_at FROM signals_call
            WHERE candle_closed_at >= %(earliest)s AND candle_closed_at < %(until)s) AS call,
          unnest(%(horizons)s::integer[]) AS horizon) AS due
WHERE exit_at >= %(since)s AND exit_at < %(until)s
ORDER BY exit_at, id
ON CONFLICT DO NOTHING
"""
LEDGER_OF = """
INSERT INTO signals_ledgerentry (day, calls, first_call, last_call, previous_digest, digest, made_at)
SELECT (published_at AT TIME ZONE 'UTC')::date AS day, count(*), min(id), max(id), repeat('0', 64), repeat('0', 64), now()
FROM signals_call GROUP BY day
"""
CANDLES_OF = """
INSERT INTO market_candle (ticker_id, timeframe, open_time, open, high, low, close, volume, received_at)
SELECT ticker, %(timeframe)s, %(slot)s, 100, 101, 99, 100.5, 7, %(slot)s FROM unnest(%(tickers)s::bigint[]) AS ticker
ON CONFLICT DO NOTHING
"""


def make_tickers(*, tickers: int) -> None:
    """Active tickers, as many as wanted. The configurations are those of `bootstrap`."""
    have = Ticker.objects.active().count()
    now = datetime.now(UTC)
    Ticker.objects.bulk_create(
        [
            Ticker(
                exchange=settings.EXCHANGE, symbol=f"M{number}USDT", base_asset=f"M{number}", quote_asset="USDT",
                tick_size="0.01", step_size="0.001", min_notional="5", is_followed=True, discovered_at=now,
            )
            for number in range(have, tickers)
        ],
        batch_size=1000,
    )  # fmt: skip


def fill_day(*, day: str, sweeps: int, start: int, stop: int) -> float:
    """Writes the rows and candles of sweeps `start` to `stop` of that many in a day; gives the seconds it took."""
    first, started = datetime.fromisoformat(day).replace(tzinfo=UTC), time.monotonic()
    rows = {"tickers": _tickers(), "configurations": _configurations()}
    for table in (RESULTS, RECEIPTS, *map(candle_table, KEPT_TIMEFRAMES)):
        ensure_partition(table, first)
    for number in range(start, stop):
        slot = first + timedelta(days=1) * number / sweeps
        sweep = _sweep(slot, rows)
        with connection.cursor() as cursor:
            values: Values = {**rows, "slot": slot, "number": number, "sweep": sweep.pk}
            for statement in (RECEIPTS_OF, RESULTS_OF, CALLS_OF):
                cursor.execute(statement, values)
            for timeframe in KEPT_TIMEFRAMES:
                for minute in range(TIMEFRAMES["2m"] // TIMEFRAMES[timeframe]):
                    at = slot + timedelta(milliseconds=TIMEFRAMES[timeframe]) * minute
                    cursor.execute(CANDLES_OF, {**values, "timeframe": timeframe, "slot": at})
    with connection.cursor() as cursor:
        cursor.execute(LATEST_OF, values)
    since, until = (first + timedelta(days=1) * number / sweeps for number in (start, stop))
    _make_outcomes(since - UNSCORED, until - UNSCORED)
    return time.monotonic() - started


def score_rest(*, day: str) -> None:
    """What scoring has left to do when `day` is over: from then on each call has an outcome at every horizon."""
    after = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)
    _make_outcomes(after - UNSCORED, after + timedelta(days=2))


def _make_outcomes(since: datetime, until: datetime) -> None:
    earliest = since - timedelta(days=2)  # a day is the longest horizon
    with connection.cursor() as cursor:
        cursor.execute(OUTCOMES_OF, {"earliest": earliest, "since": since, "until": until, "horizons": Horizon.values})


def make_record(*, at: str) -> float:
    """The public record of all calls so far, as its task makes it, and a link of the ledger for each day, whose digests are
    none. Gives the seconds it took."""
    started = time.monotonic()
    since = datetime(2001, 1, 1, tzinfo=UTC)
    CentralSpan.objects.bulk_create(CentralSpan(configuration_id=one, since=since) for one in _configurations())
    rebuild_months(at=datetime.fromisoformat(at), everything=True)
    build_documents(at=datetime.fromisoformat(at))
    with connection.cursor() as cursor:
        cursor.execute(LEDGER_OF)
    return time.monotonic() - started


def analyse() -> None:
    """What autovacuum has done by the time such tables are there."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _tickers() -> list[int]:
    return list(Ticker.objects.active().order_by("pk").values_list("pk", flat=True))


def _configurations() -> list[int]:
    return list(Configuration.objects.order_by("pk").values_list("pk", flat=True))


def _sweep(slot: datetime, rows: dict[str, list[int]]) -> Sweep:
    """A closed sweep over all tickers."""
    done = len(rows["tickers"])
    return Sweep.objects.create(
        feed=CENTRAL, slot=slot, status=Sweep.Status.CLOSED, started_at=slot, closed_at=slot + timedelta(seconds=5),
        duration_ms=4000, ok=done, results=done * len(rows["configurations"]),
        ticker_ids=rows["tickers"], configuration_ids=rows["configurations"],
    )  # fmt: skip


SIZES = """
WITH leaf AS (
    SELECT child.oid, child.reltuples, regexp_replace(child.relname, '_[0-9]{4,8}$', '') AS name
    FROM pg_class child JOIN pg_namespace space ON space.oid = child.relnamespace
    WHERE child.relkind = 'r' AND space.nspname = 'public' AND child.relname ~ '^(signals|market)_'
)
SELECT name, sum(greatest(reltuples, 0))::bigint, sum(pg_relation_size(oid))::bigint, sum(pg_indexes_size(oid))::bigint,
    sum(pg_table_size(oid) - pg_relation_size(oid))::bigint
FROM leaf GROUP BY name HAVING sum(reltuples) > 0 ORDER BY sum(pg_total_relation_size(oid)) DESC
"""


def sizes() -> list[tuple[str, int, int, int, int]]:
    """Of each table with all its partitions: rows, and the bytes of its heap, its indexes, and TOAST with the maps."""
    with connection.cursor() as cursor:
        cursor.execute(SIZES)
        return [tuple(row) for row in cursor.fetchall()]


FILES = """
SELECT current_setting('data_directory') || '/' || pg_relation_filepath(file)
FROM (SELECT oid, reltoastrelid FROM pg_class WHERE relname = %s) AS leaf,
    LATERAL (SELECT leaf.oid UNION ALL SELECT nullif(leaf.reltoastrelid, 0) UNION ALL
             SELECT indexrelid FROM pg_index WHERE indrelid IN (leaf.oid, leaf.reltoastrelid)) AS of_leaf (file)
WHERE file IS NOT NULL
"""


def forget_day(*, day: str) -> int:
    """Has the day's partitions written out and taken from the kernel's cache, as one is that was written a month ago.

    Gives their bytes. A system without posix_fadvise keeps what it has.
    """
    at, size = datetime.fromisoformat(day).replace(tzinfo=UTC), 0
    with connection.cursor() as cursor:
        cursor.execute("CHECKPOINT")
        for table in DAILY.values():
            cursor.execute(FILES, [table.partition(at)])
            for (name,) in cursor.fetchall():
                # The file itself, its further GB (.1) and its maps (_fsm): not one whose number begins alike.
                files = [Path(name), *Path(name).parent.glob(f"{Path(name).name}[._]*")]
                size += sum(map(_forget, files))
    return size


def _forget(file: Path) -> int:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        if hasattr(os, "posix_fadvise"):  # else: macOS
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return file.stat().st_size


def prune_until(*, day: str) -> dict[str, float]:
    """Drops everything up to the end of `day` as the daily tasks do; gives the seconds of each part."""
    after = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)
    taken = {}
    for name, table in DAILY.items():
        started = time.monotonic()
        drop_partitions(table, before=after)
        taken[name] = time.monotonic() - started
    started = time.monotonic()
    with override_settings(SIGNAL_RETENTION=settings.SWEEP_RETENTION):  # else it would leave the sweeps of that day
        prune(now=after + settings.SWEEP_RETENTION)
    taken["the rest of signals.tasks.prune"] = time.monotonic() - started
    return taken


def write_beside_partitions(*, day: str, seconds: float, rounds: int) -> dict[str, object]:
    """Writers write sweeps without a pause; every other round partitions are made and dropped beside them.

    Gives the milliseconds of each write, by round: "alone" and "beside"; the milliseconds of each making and dropping;
    how many rows were told to be written, how many are there, and the errors of anybody.
    """
    first = datetime.fromisoformat(day).replace(tzinfo=UTC)
    ensure_partition(RESULTS, first)
    ensure_partition(RECEIPTS, first)
    times: dict[str, list[float]] = {"alone": [], "beside": [], "made": [], "dropped": []}
    errors: list[str] = []
    written = [0] * WRITERS
    phase, stop = ["alone"], threading.Event()

    def write(writer: int) -> None:
        # Tickers of their own, as the tasks of a sweep have.
        tickers, configurations = _tickers()[writer::WRITERS], _configurations()
        for number in count():
            for start in range(0, len(tickers), TICKERS_PER_WRITE):
                if stop.is_set():
                    return
                part = tickers[start : start + TICKERS_PER_WRITE]
                slot = first + timedelta(seconds=number)
                ids = {"tickers": part, "configurations": configurations}
                during, started = phase[0], time.monotonic()
                _write({**ids, "slot": slot, "number": number, "sweep": number})
                times[during].append((time.monotonic() - started) * 1000)
                written[writer] += len(part) * len(configurations)

    threads = [_thread(partial(write, writer), errors) for writer in range(WRITERS)]
    try:
        for number in range(2 * rounds):
            phase[0] = ("alone", "beside")[number % 2]
            ends_at = time.monotonic() + seconds
            if phase[0] == "beside":
                _make_and_drop(times, ends_at)
            time.sleep(max(0.0, ends_at - time.monotonic()))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM signals_signalresult WHERE candle_closed_at >= %s AND candle_closed_at < %s",
            [first, first + timedelta(days=1)],
        )
        there = cursor.fetchone()[0]
    return {"times": times, "errors": errors, "written": sum(written), "there": there}


def _write(values: Values) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in (RECEIPTS_OF, RESULTS_OF, LATEST_OF):
            cursor.execute(statement, values)


def _make_and_drop(times: dict[str, list[float]], ends_at: float) -> None:
    """Partitions of days long past: one is made, then dropped, of each table, until the time is over."""
    for number in count():
        if time.monotonic() > ends_at:
            return
        day = datetime(2001, 1, 1, tzinfo=UTC) + timedelta(days=number)
        for table in (RESULTS, RECEIPTS):
            started = time.monotonic()
            ensure_partition(table, day)
            made = time.monotonic()
            drop_partitions(table, before=day + timedelta(days=1))
            times["made"].append((made - started) * 1000)
            times["dropped"].append((time.monotonic() - made) * 1000)


def _thread(work: Callable[[], None], errors: list[str]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 (whoever asked for the thread is told)
            errors.append(f"{type(error).__name__}: {error}")
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread
