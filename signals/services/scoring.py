"""Scoring: what became of each call at each horizon. Run as often as one likes, it writes an outcome once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
from django.conf import settings
from django.db import connection

from engine.candles import MINUTE_MS, Float64s
from engine.stats import buy_return, sell_return
from market.copying import copy_rows, unhurried
from market.models import HeartbeatStatus
from signals.models import Call, Horizon, Outcome

# A candle that has not come so long after the exit never will: an exchange that halted, a ticker that was delisted.
WAIT_FOR_CANDLES = timedelta(hours=24)
# Of so many hours of calls at a time: what 2,000 tickers call in them is written in a second or two.
STEP = timedelta(hours=6)
# A verdict is written this long after its candle's close at the latest: ten candles of 4h.
LATEST_PUBLICATION = timedelta(days=2)
# Calls this much older than what was scored last may still be due: the longest horizon, and the wait for candles.
UNSETTLED = timedelta(days=3) + LATEST_PUBLICATION

NO_ENTRY = "there is no 1m candle at the entry"
NO_EXIT = "there is no 1m candle at the exit"

# The minute after the one in which the call was published, and the one that closes at the horizon. A LEFT JOIN, since
# what never came must be seen. The bounds on the candles' times are for the planner: they leave a few partitions.
_DUE = """
SELECT due.call_id, due.horizon::bigint, due.is_buy::int::bigint,
       (extract(epoch FROM due.entry_at) * 1000)::float8, coalesce(entry.open, 'NaN'), coalesce(exit.close, 'NaN')
FROM (
    SELECT call.id AS call_id, call.ticker_id, call.signal = 'BUY' AS is_buy, horizon,
           date_trunc('minute', call.published_at) + interval '1 minute' AS entry_at
    FROM signals_call AS call JOIN market_ticker AS ticker ON ticker.id = call.ticker_id AND ticker.exchange = %s
    CROSS JOIN unnest(%s::integer[]) AS horizon
    WHERE call.candle_closed_at >= %s AND call.candle_closed_at < %s
      AND NOT EXISTS (
          SELECT FROM signals_outcome AS known WHERE known.call_id = call.id AND known.horizon = horizon.horizon)
) AS due
LEFT JOIN market_candle AS entry ON entry.ticker_id = due.ticker_id AND entry.timeframe = '1m'
    AND entry.open_time = due.entry_at AND entry.open_time >= %s AND entry.open_time < %s
LEFT JOIN market_candle AS exit ON exit.ticker_id = due.ticker_id AND exit.timeframe = '1m'
    AND exit.open_time = due.entry_at + make_interval(mins => due.horizon - 1)
    AND exit.open_time >= %s AND exit.open_time < %s
WHERE due.entry_at + make_interval(mins => due.horizon) <= %s
"""
_COLUMNS = {"call": "i8", "horizon": "i8", "is_buy": "i8", "entry_ms": "f8", "entry": "f8", "exit": "f8"}

_INSERT = """
INSERT INTO signals_outcome (call_id, horizon, status, reason, entry_at, exit_at, entry_price, exit_price, fee_rate,
                             net_return, hold_return, scored_at)
SELECT call_id, horizon, CASE WHEN reason = '' THEN 'scored' ELSE 'unscorable' END, reason,
       to_timestamp(entry_ms / 1000), to_timestamp(entry_ms / 1000) + make_interval(mins => horizon),
       nullif(entry, 'NaN'), nullif(exit, 'NaN'), %s, nullif(net, 'NaN'), nullif(hold, 'NaN'), %s
FROM unnest(%s::bigint[], %s::integer[], %s::text[], %s::float8[], %s::float8[], %s::float8[], %s::float8[], %s::float8[])
    AS given (call_id, horizon, reason, entry_ms, entry, exit, net, hold)
ORDER BY call_id, horizon
ON CONFLICT DO NOTHING
"""


class ScoreCounts(TypedDict):
    """How many outcomes a run has added, by status."""

    scored: int
    unscorable: int


def score_calls(
    *,
    market_now: datetime,
    now: datetime,
    since: datetime | None = None,
    until: datetime | None = None,
    say: Callable[[datetime], None] = lambda at: None,
) -> ScoreCounts:
    """Scores what is due and has no outcome yet, of calls on candles that closed from `since` to `until`.

    By default that is all since three days before what was scored last: a stop of any length is made up for.

    Entry is the open of the first 1m candle that opens after the call's publication, exit the close of the 1m candle at
    the horizon. Where one of them is not there, the call waits for 24 hours, and until the heartbeat has all minutes up to the
    exit; then it is unscorable. Safe to repeat
    and to race. `say` hears how far it is.
    """
    at = since or _unsettled_since(market_now)
    end = min(until or market_now, market_now)
    counts = ScoreCounts(scored=0, unscorable=0)
    while at < end:
        step = min(at + STEP, end)
        with unhurried():
            _score(at, step, market_now, now, counts)
        say(step)
        at = step
    return counts


def _unsettled_since(market_now: datetime) -> datetime:
    last = Outcome.objects.order_by("-pk").values_list("exit_at", flat=True).first()
    if last is not None:
        return min(last, market_now) - UNSETTLED
    first = Call.objects.order_by("candle_closed_at").values_list("candle_closed_at", flat=True).first()
    return first or market_now


def _score(since: datetime, until: datetime, market_now: datetime, now: datetime, counts: ScoreCounts) -> None:
    last_entry = until + LATEST_PUBLICATION
    last_exit = last_entry + timedelta(minutes=max(Horizon.values))
    bounds = [since, last_entry, since, last_exit]
    due = copy_rows(_DUE, [settings.EXCHANGE, Horizon.values, since, until, *bounds, market_now], _COLUMNS)
    entry, exit_ = due["entry"], due["exit"]
    exit_ms = due["entry_ms"] + due["horizon"] * MINUTE_MS
    has_both = np.isfinite(entry) & np.isfinite(exit_)
    has_waited = exit_ms <= min((market_now - WAIT_FOR_CANDLES).timestamp() * 1000, _complete_up_to())
    is_over = has_both | has_waited
    if not is_over.any():
        return
    fee = settings.FEE_RATE
    net = np.where(due["is_buy"] == 1, buy_return(entry, exit_, fee), sell_return(entry, exit_, fee))
    hold = buy_return(entry, exit_, fee)
    reason = np.where(has_both, "", np.where(np.isfinite(entry), NO_EXIT, NO_ENTRY))
    columns = (due["call"], due["horizon"], reason, due["entry_ms"], entry, exit_, net, hold)
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [fee, now, *(column[is_over].tolist() for column in columns)])
    counts["scored"] += int(has_both.sum())
    counts["unscorable"] += int((is_over & ~has_both).sum())


def _complete_up_to() -> float:
    """How far the heartbeat has all minutes there are, ms since 1970: after a stop they come back first."""
    status = HeartbeatStatus.objects.filter(exchange=settings.EXCHANGE).first()
    return float(status.watermarks.get("1m", 0)) if status is not None else 0.0


# Outcomes whose exit was in a span of time, with what the two candles say now.
_SCORED = """
SELECT call.configuration_id, call.ticker_id, (extract(epoch FROM call.candle_closed_at) * 1000)::bigint,
       outcome.horizon::bigint, (call.signal = 'BUY')::int::bigint, (outcome.status = 'scored')::int::bigint,
       (outcome.entry_at = date_trunc('minute', call.published_at) + interval '1 minute'
        AND outcome.exit_at = outcome.entry_at + make_interval(mins => outcome.horizon))::int::bigint,
       coalesce(greatest(entry.received_at, exit.received_at) <= outcome.scored_at, false)::int::bigint, outcome.fee_rate,
       coalesce(outcome.entry_price, 'NaN'), coalesce(outcome.exit_price, 'NaN'), coalesce(outcome.net_return, 'NaN'),
       coalesce(outcome.hold_return, 'NaN'), coalesce(entry.open, 'NaN'), coalesce(exit.close, 'NaN')
FROM signals_outcome AS outcome JOIN signals_call AS call ON call.id = outcome.call_id
LEFT JOIN market_candle AS entry ON entry.ticker_id = call.ticker_id AND entry.timeframe = '1m'
    AND entry.open_time = outcome.entry_at AND entry.open_time >= %(earliest)s AND entry.open_time < %(until)s
LEFT JOIN market_candle AS exit ON exit.ticker_id = call.ticker_id AND exit.timeframe = '1m'
    AND exit.open_time = outcome.exit_at - interval '1 minute' AND exit.open_time >= %(earliest)s
    AND exit.open_time < %(until)s
WHERE call.candle_closed_at >= %(earliest)s AND call.candle_closed_at < %(until)s AND call.ticker_id = ANY(%(tickers)s)
    AND outcome.exit_at >= %(since)s AND outcome.exit_at < %(until)s
"""
_SCORED_COLUMNS = dict.fromkeys(
    ("configuration", "ticker", "closed_ms", "horizon", "is_buy", "is_scored", "is_in_time", "were_there"), "i8"
) | dict.fromkeys(("fee", "entry_price", "exit_price", "net", "hold", "entry", "exit"), "f8")


class OutcomeCheck(NamedTuple):
    """An outcome scored again: `what` is wrong with it in words, empty where it stands."""

    configuration_id: int
    ticker_id: int
    candle_closed_at: datetime
    what: str


def check_outcomes(*, since: datetime, until: datetime, ticker_ids: Sequence[int]) -> Iterator[OutcomeCheck]:
    """Scores the outcomes again whose exit was in a span of time, from the stored candles; those past their retention pass."""
    earliest = since - LATEST_PUBLICATION - timedelta(minutes=max(Horizon.values))
    values = {"since": since, "until": until, "earliest": earliest, "tickers": list(ticker_ids)}
    with unhurried():
        stored = copy_rows(_SCORED, values, _SCORED_COLUMNS)
    for configuration, ticker, closed_ms, what in zip(
        *(stored[name].tolist() for name in ("configuration", "ticker", "closed_ms")),
        _wrong(stored).tolist(),
        strict=True,
    ):
        yield OutcomeCheck(configuration, ticker, datetime.fromtimestamp(closed_ms / 1000, UTC), what)


def _wrong(stored: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.str_]:
    entry, exit_, fee = stored["entry"], stored["exit"], stored["fee"]
    net = np.where(stored["is_buy"] == 1, buy_return(entry, exit_, fee), sell_return(entry, exit_, fee))
    hold = buy_return(entry, exit_, fee)
    pairs = (
        (stored["entry_price"], entry),
        (stored["exit_price"], exit_),
        (stored["net"], net),
        (stored["hold"], hold),
    )
    # To a rounding: one number and many may be computed in other orders.
    is_same = np.logical_and.reduce([np.isclose(was, now, rtol=1e-12, atol=1e-15) for was, now in pairs])
    is_scored, has_both = stored["is_scored"] == 1, np.isfinite(entry) & np.isfinite(exit_)
    return np.select(
        [
            stored["is_in_time"] == 0,
            is_scored & has_both & ~is_same,
            ~is_scored & has_both & (stored["were_there"] == 1),
        ],
        [
            "an outcome's minutes are not those after the call",
            "an outcome is not what its candles give",
            "an outcome is unscorable, and both its candles were there",
        ],
        "",
    )


def expected_outcome(outcome: Outcome, *, entry: float | None, exit_: float | None) -> tuple[float, float] | None:
    """Net and hold return of an outcome from these prices, or None where one is missing: to check what is stored."""
    if entry is None or exit_ is None:
        return None
    prices: tuple[Float64s, Float64s] = np.array(entry), np.array(exit_)
    give = buy_return if outcome.call.signal == "BUY" else sell_return
    return float(give(*prices, outcome.fee_rate)), float(buy_return(*prices, outcome.fee_rate))
