"""The people of demo mode: alice (premium), bob (free), oscar (operator)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils.crypto import salted_hmac

from accounts.models import User
from billing.entitlements import entitlements
from billing.models import PlanGrant, PlanName
from market.models import Ticker
from signals.models import AlgorithmPreferences
from signals.services.configurations import configuration_for
from signals.services.following import follow_default
from signals.services.schedules import sync_premium_schedule


@dataclass(frozen=True, slots=True)
class DemoPerson:
    """Somebody to log in as; the password is only ever printed to the terminal of `make run`."""

    username: str
    password: str
    role: str


@transaction.atomic
def make_demo_people(*, now: datetime) -> list[DemoPerson]:
    """Makes the demo people, or finds them; their passwords stay the same as long as SECRET_KEY does."""
    oscar = _person("oscar", is_staff=True, is_superuser=True)
    alice = _person("alice")
    bob = _person("bob")
    if not all(person.is_demo for person in (oscar, alice, bob)):
        return []  # a database with real people of these names
    if not PlanGrant.objects.active(now).filter(user=alice).exists():
        PlanGrant.objects.create(
            user=alice, plan=PlanName.PREMIUM, starts_at=now, granted_by=oscar, reason="Demo of the premium plan"
        )
    _follow_something(alice, now)
    _follow_something(bob, now)
    _follow_something(oscar, now)
    _give_own_schedule(alice, now)
    return [
        DemoPerson("alice", _password("alice"), "premium: every algorithm on every ticker, and a schedule of her own"),
        DemoPerson("bob", _password("bob"), "free: three algorithms on twenty tickers"),
        DemoPerson("oscar", _password("oscar"), "operator: also /admin/"),
    ]


def _password(username: str) -> str:
    """Random to everybody who does not know SECRET_KEY, the same at every start."""
    return salted_hmac("boritrader.demo", username, algorithm="sha256").hexdigest()[:20]


def _person(username: str, *, is_staff: bool = False, is_superuser: bool = False) -> User:
    user, _ = User.objects.get_or_create(
        username=username,
        defaults={
            "is_demo": True,
            "is_staff": is_staff,
            "is_superuser": is_superuser,
            "email": f"{username}@demo.invalid",
        },
    )
    if user.is_demo and not user.check_password(_password(username)):
        user.set_password(_password(username))
        user.save(update_fields=["password"])
    return user


def _follow_something(user: User, now: datetime) -> None:
    """As much as the plan allows; only for somebody who follows nothing yet."""
    if Ticker.objects.active().exists() and not AlgorithmPreferences.objects.for_user(user).exists():
        follow_default(user=user, allowed=entitlements(user, now=now))


def _give_own_schedule(user: User, now: datetime) -> None:
    """A faster RSI every five minutes on the three most traded tickers: what premium is for."""
    if AlgorithmPreferences.objects.for_user(user).exclude(execution_frequency="").exists():
        return
    tickers = Ticker.objects.active().order_by("-quote_volume_24h")[:3]
    if not tickers:
        return
    preference = AlgorithmPreferences.objects.create(
        user=user,
        configuration=configuration_for(algorithm_id="rsi", timeframe="5m", parameters={"period": 7}, now=now),
        execution_frequency=AlgorithmPreferences.Frequency.EVERY_5_MINUTES,
    )
    preference.tickers.set(tickers)
    sync_premium_schedule(preference=preference)
