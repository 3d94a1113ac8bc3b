"""What a plan allows: the one place that says so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from accounts.models import User
from billing.models import PlanGrant, PlanName


@dataclass(frozen=True, slots=True)
class Entitlements:
    """The numbers of one plan."""

    plan: PlanName
    followed_algorithms: int
    followed_tickers: int
    own_schedules: int  # premium configurations on a schedule of their own
    sockets: int  # open WebSockets at once


PLANS: dict[PlanName, Entitlements] = {
    PlanName.FREE: Entitlements(PlanName.FREE, followed_algorithms=3, followed_tickers=20, own_schedules=0, sockets=3),
    PlanName.PREMIUM: Entitlements(
        PlanName.PREMIUM, followed_algorithms=100, followed_tickers=10_000, own_schedules=20, sockets=20
    ),
}


def entitlements(user: User, *, now: datetime) -> Entitlements:
    """What `user` may do at `now`. A plan never outlives its grant; everybody else is on the free plan."""
    if PlanGrant.objects.active(now).filter(user=user, plan=PlanName.PREMIUM).exists():
        return PLANS[PlanName.PREMIUM]
    return PLANS[PlanName.FREE]
