"""How fresh the central feed and the market data are: what `/readyz`, the pages' JSON, metrics and incidents say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from celery.schedules import schedule
from django.conf import settings

from engine.candles import TIMEFRAMES
from live.messages import WIRE_VERSION, MarketFrame
from market.models import HeartbeatStatus
from signals.models import Sweep
from signals.services.evaluation import from_ms, last_close, to_ms
from signals.services.schedules import latest_instant
from signals.services.sweeps import central_timetable

# The heartbeat writes its row every few seconds; without news for this long it is taken for gone.
HEARTBEAT_SILENCE = timedelta(seconds=30)
# A stream brings something every few seconds; without a message for this long it is taken for dead.
MARKET_SILENCE = timedelta(seconds=60)
# A stream that was cut is usually back in seconds, and what it missed is fetched: only then is it worth a word.
STREAM_GRACE = timedelta(seconds=30)
# Candles are in a few seconds after their close; this long after it they are late.
CANDLES_LATE = timedelta(seconds=60)
# The feed is stale once this many slots have passed since the last one that was closed; of a rhythm of seconds, once so
# much time has: closing a sweep takes a few of them.
STALE_AFTER_SWEEPS = 2
LEAST_PATIENCE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class MarketFreshness:
    """The state of the market data at one instant of our own clock."""

    frame: MarketFrame
    reason: str  # why they are stale; empty while they are fresh


@dataclass(frozen=True, slots=True)
class CandleFreshness:
    """How far the closed candles of one timeframe are complete, at one instant of the market's clock."""

    timeframe: str
    age: timedelta  # since the close of the newest complete candle; between 0 and the timeframe's length while all is well
    reason: str  # why they are late; empty while they are not


@dataclass(frozen=True, slots=True)
class Freshness:
    """The state of the central feed at one instant of the market's clock."""

    at: datetime
    sweep: Sweep | None  # the last closed one
    period: timedelta
    next_slot: datetime
    reason: str  # why it is stale; empty while it is fresh

    @property
    def is_stale(self) -> bool:
        return bool(self.reason)


def freshness(at: datetime) -> Freshness:
    """The state of the central feed at `at`: two queries."""
    period, next_slot = _rhythm(at)
    sweep = Sweep.objects.central().filter(status=Sweep.Status.CLOSED).order_by("-slot").first()
    return Freshness(at=at, sweep=sweep, period=period, next_slot=next_slot, reason=_why_stale(sweep, period, at))


def _rhythm(at: datetime) -> tuple[timedelta, datetime]:
    """How far apart the central feed's slots are, and the next one: as the operator's row of beat says."""
    timetable = central_timetable() or schedule(timedelta(minutes=settings.SWEEP_EVERY_MINUTES))
    newest = latest_instant(timetable, at=at)
    before = latest_instant(timetable, at=newest - timedelta(microseconds=1))
    return newest - before, newest + (newest - before)


def _why_stale(sweep: Sweep | None, period: timedelta, at: datetime) -> str:
    if sweep is None:
        return "no sweep has been closed yet"
    age = at - sweep.slot
    if age > max(STALE_AFTER_SWEEPS * period, LEAST_PATIENCE):
        return (
            f"the last closed sweep stands for {sweep.slot:%Y-%m-%d %H:%M:%S} UTC, {age.total_seconds():.0f} s ago; "
            f"one is due every {period.total_seconds():.0f} s"
        )
    if sweep.tickers and not sweep.ok:
        return f"not one of the last sweep's {sweep.tickers} tickers had fresh candles and a working algorithm"
    return ""


def market_freshness(at: datetime) -> MarketFreshness:
    """The market data's state, as the heartbeat last wrote it down. A heartbeat that fell silent is not connected.

    `at` is our own clock's, as the heartbeat's instants are. One query.
    """
    status = HeartbeatStatus.objects.filter(exchange=settings.EXCHANGE).first()
    frame = MarketFrame(
        type="market",
        v=WIRE_VERSION,
        exchange=settings.EXCHANGE,
        is_connected=bool(status and status.is_connected and at - status.updated_at < HEARTBEAT_SILENCE),
        is_simulated=settings.IS_SIMULATED,
        at=to_ms(status.updated_at) if status else 0,
        watermarks=status.watermarks if status else {},
    )
    return MarketFreshness(frame, _why_market_stale(status, at))


def _why_market_stale(status: HeartbeatStatus | None, at: datetime) -> str:
    if status is None:
        return "the heartbeat has not reported yet"
    silence = at - status.updated_at
    if silence >= HEARTBEAT_SILENCE:
        return f"the heartbeat last reported {silence.total_seconds():.0f} s ago"
    age = status.age(at)
    if age is None:
        return "no market data yet"
    if age > MARKET_SILENCE.total_seconds():
        return f"no market data for {age:.0f} s"
    if not status.is_connected and age > STREAM_GRACE.total_seconds():
        return f"the exchange's stream is not connected, and was silent for {age:.0f} s"
    return ""


def candle_freshness(watermarks: Mapping[str, int], at: datetime) -> list[CandleFreshness]:
    """The state of each timeframe in `watermarks` (timeframe -> ms since 1970), at `at` of the market's clock."""
    found = []
    for timeframe, mark in sorted(watermarks.items(), key=lambda item: TIMEFRAMES[item[0]]):
        complete = from_ms(mark)
        due = last_close(timeframe, at)
        is_late = complete < due and at - due > CANDLES_LATE
        reason = f"the {timeframe} candles are complete only up to {complete:%Y-%m-%d %H:%M:%S} UTC" if is_late else ""
        found.append(CandleFreshness(timeframe, at - complete, reason))
    return found
