"""Whether everything is there that a fresh signal on a page needs; part by part, each with the reason if it is not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings

from live.counters import counters
from live.messages import MarketFrame, SweepClosedFrame
from market.models import HeartbeatStatus
from signals.services.evaluation import to_ms
from signals.services.sweeps import closed_frame
from watch.probe import Answer, Probe
from watch.services import stores
from watch.services.freshness import CandleFreshness, candle_freshness, freshness, market_freshness

# The relay looks into Postgres every second.
RELAY_SILENCE = 30.0  # seconds
# Without these a web process can show no page, or shows one that never changes. The rest is not its own fault: taking
# it out of service would also take away the page that says since when the signals are old.
SERVING = ("database", "relay")


@dataclass(frozen=True, slots=True)
class DatabaseLook:
    """What Postgres says of the sweeps and of the market."""

    sweep: SweepClosedFrame | None
    sweep_age: timedelta | None
    period: timedelta
    market: MarketFrame
    candles: list[CandleFreshness]
    sweep_reason: str
    candles_reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """All parts at one instant of our own clock. `reasons`: part -> why it is not well, empty if it is, None if unknown."""

    at: datetime
    reasons: Mapping[str, str | None]
    took: Mapping[str, float] = field(default_factory=dict)  # seconds
    database: DatabaseLook | None = None
    relay_age: float | None = None  # seconds

    def why_not_ready(self, *, serving_only: bool = False) -> str:
        """Every reason, or only those of this web process itself; empty if there is none."""
        found = [reason for part, reason in self.reasons.items() if part in SERVING or not serving_only]
        return "; ".join(filter(None, found))

    def as_json(self, *, serving_only: bool = False) -> dict[str, Any]:
        """What the addresses answer: nothing that a stranger may not know."""
        reason = self.why_not_ready(serving_only=serving_only)
        found = self.database
        return {
            "status": "not ready" if reason else "ready",
            "reason": reason,
            "at": to_ms(self.at),
            "parts": {
                part: {"reason": reason, "took_ms": round(self.took[part] * 1000, 1) if part in self.took else None}
                for part, reason in self.reasons.items()
            },
            "sweep": found and found.sweep,
            "sweep_age_ms": found and _ms(found.sweep_age),
            "period_ms": found and _ms(found.period),
            "market": found and found.market,
            "candle_age_ms": {one.timeframe: _ms(one.age) for one in found.candles} if found else {},
            "relay_age_ms": None if self.relay_age is None else round(self.relay_age * 1000),
        }


def _ms(length: timedelta | None) -> int | None:
    return None if length is None else round(length / timedelta(milliseconds=1))


def look_into_database() -> DatabaseLook:
    """Four queries. Asks no Redis: what hangs there must not be blamed on Postgres."""
    now = datetime.now(UTC)
    status = HeartbeatStatus.objects.filter(exchange=settings.EXCHANGE).first()
    at = now + timedelta(milliseconds=status.clock_offset_ms if status else 0)
    feed, market = freshness(at), market_freshness(now)
    candles = candle_freshness(market.frame["watermarks"], at)
    late = [one.reason for one in candles] if candles else ["no candles are complete yet"]
    return DatabaseLook(
        sweep=closed_frame(feed.sweep) if feed.sweep else None,
        sweep_age=at - feed.sweep.slot if feed.sweep else None,
        period=feed.period,
        market=market.frame,
        candles=candles,
        sweep_reason=feed.reason,
        # Candles that do not come are the consequence of what the market's reason says.
        candles_reason=market.reason or "; ".join(filter(None, late)),
    )


def ping_live() -> None:
    stores.live().ping()


def ping_broker() -> None:
    stores.broker().ping()


def relay_age(now: float) -> float | None:
    """Seconds since this process's relay last looked into Postgres; None before it ever did."""
    return now - counters.looked_at if counters.looked_at else None


def why_relay_is_silent(age: float | None) -> str:
    if age is None:
        return "the relay of this web process has not looked into the database yet"
    if age > RELAY_SILENCE:
        return f"the relay of this web process has not looked into the database for {age:.0f} s"
    return ""


def _why(name: str, answer: Answer[Any]) -> str:
    return f"{name}: {answer.problem}" if answer.problem else ""


class Readiness:
    """Looks at every part, side by side. Belongs to one event loop."""

    def __init__(
        self,
        *,
        database: Callable[[], DatabaseLook] = look_into_database,
        live: Callable[[], None] = ping_live,
        broker: Callable[[], None] = ping_broker,
    ) -> None:
        self._database = Probe(database)
        self._live = Probe(live)
        self._broker = Probe(broker)

    async def report(self) -> Report:
        """How everything is, at most a second ago. Takes at most two seconds."""
        database, live, broker = await asyncio.gather(self._database.ask(), self._live.ask(), self._broker.ask())
        reasons: dict[str, str | None] = {
            "database": _why("the database", database),
            "live": _why("the live store", live),
            "broker": _why("the broker", broker),
        }
        found = database.value
        reasons |= {
            "sweep": found.sweep_reason if found else None,
            "candles": found.candles_reason if found else None,
        }
        age = relay_age(time.time())
        reasons["relay"] = why_relay_is_silent(age)
        took = {"database": database.took, "live": live.took, "broker": broker.took}
        return Report(datetime.now(UTC), reasons, took, found, age)
