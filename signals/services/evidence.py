"""One call with its inputs, computed again: what `verify_call` shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from engine import registry
from engine.candles import Candles
from engine.evaluate import Verdict, verdict
from market.candles import load_candles
from market.models import Candle
from signals.models import Call, Outcome
from signals.services.scoring import expected_outcome


@dataclass(frozen=True, slots=True)
class Check:
    """One thing a call says, what is computed now, and whether both are the same. `computed` None: it cannot be."""

    name: str
    stored: str
    computed: str | None

    @property
    def is_same(self) -> bool:
        return self.computed == self.stored


@dataclass(frozen=True, slots=True)
class Evidence:
    """A call, the candles it was made from, and every check of it. `obstacle` says why nothing could be computed."""

    call: Call
    candles: Candles
    checks: tuple[Check, ...]
    obstacle: str = ""

    @property
    def is_confirmed(self) -> bool:
        return not self.obstacle and all(check.is_same for check in self.checks if check.computed is not None)


def verify_call(*, call_id: int) -> Evidence:
    """Computes a call and its outcomes again from the stored candles. Raises Call.DoesNotExist."""
    call = Call.objects.select_related("configuration", "ticker").get(pk=call_id)
    configuration = call.configuration
    known = {one.id: one for one in registry.all_algorithms()}.get(configuration.algorithm_id)
    if known is None or known.version != call.algorithm_version:
        version = "no longer there" if known is None else f"version {known.version} now"
        candles = load_candles(call.ticker_id, configuration.timeframe, closed_up_to=call.candle_closed_at, limit=1)
        return Evidence(
            call,
            candles,
            tuple(_outcome_checks(call)),
            f"it was made by version {call.algorithm_version} of {configuration.algorithm_id}, which is {version}: "
            "check out the code of that time to compute it again",
        )
    lookback = known.lookback(configuration.parameters)
    # One more than it rests on: what stood before it is computed, too.
    candles = load_candles(
        call.ticker_id, configuration.timeframe, closed_up_to=call.candle_closed_at, limit=lookback + 1
    )
    if len(candles) < lookback:
        return Evidence(call, candles, tuple(_outcome_checks(call)), "the candles it rests on are past their retention")
    before = verdict(known, configuration.parameters, candles, len(candles) - 1)
    found = verdict(known, configuration.parameters, candles)
    return Evidence(call, candles, (*_verdict_checks(call, found, before), *_outcome_checks(call)))


def _verdict_checks(call: Call, found: Verdict, before: Verdict) -> list[Check]:
    return [
        Check("candles", bytes(call.candles_digest).hex(), found.candles_digest.hex()),
        Check("signal", call.signal, found.signal.value),
        Check("previous signal", call.previous_signal, before.signal.value),
        Check("price", repr(call.price), repr(found.price)),
        Check("value", repr(call.value), repr(found.value)),
    ]


def _outcome_checks(call: Call) -> list[Check]:
    return [check for outcome in call.outcomes.order_by("horizon") for check in _checks_of(outcome)]


def _checks_of(outcome: Outcome) -> list[Check]:
    call, name = outcome.call, outcome.get_horizon_display()
    entry_at = _next_minute(call.published_at)
    exit_at = entry_at + timedelta(minutes=outcome.horizon)
    minutes = Candle.objects.filter(ticker=call.ticker_id, timeframe="1m")
    entry = minutes.filter(open_time=entry_at).values_list("open", flat=True).first()
    exit_ = minutes.filter(open_time=exit_at - timedelta(minutes=1)).values_list("close", flat=True).first()
    checks = [
        Check(f"{name}: entry at", outcome.entry_at.isoformat(), entry_at.isoformat()),
        Check(f"{name}: exit at", outcome.exit_at.isoformat(), exit_at.isoformat()),
    ]
    if outcome.status == Outcome.Status.UNSCORABLE:  # a candle that came after all changes nothing
        return checks
    expected = expected_outcome(outcome, entry=entry, exit_=exit_)
    prices = [("entry", outcome.entry_price, entry), ("exit", outcome.exit_price, exit_)]
    checks += [Check(f"{name}: {what}", repr(was), None if now is None else repr(now)) for what, was, now in prices]
    net = None if expected is None else repr(expected[0])
    return [*checks, Check(f"{name}: net return", repr(outcome.net_return), net)]


def _next_minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0) + timedelta(minutes=1)
