"""What a plan allows: the one place that says so."""

from __future__ import annotations

from collections.abc import Collection
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
    return entitlements_of_each(user_ids=[user.pk], now=now)[user.pk]


def entitlements_of_each(*, user_ids: Collection[int], now: datetime) -> dict[int, Entitlements]:
    """The same for many users, by their ids. One query."""
    grants = PlanGrant.objects.active(now).filter(user__in=user_ids, plan=PlanName.PREMIUM)
    premium = set(grants.values_list("user", flat=True))
    return {one: PLANS[PlanName.PREMIUM if one in premium else PlanName.FREE] for one in user_ids}
