from __future__ import annotations

from datetime import UTC, datetime, timedelta

from accounts.models import User
from billing.entitlements import PLANS, entitlements
from billing.models import PlanGrant, PlanName

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_everybody_is_on_the_free_plan(bob: User) -> None:
    assert entitlements(bob, now=NOON) == PLANS[PlanName.FREE]


def test_a_grant_holds_from_its_first_instant_to_the_one_before_its_end(bob: User) -> None:
    PlanGrant.objects.create(
        user=bob, plan=PlanName.PREMIUM, starts_at=NOON, ends_at=NOON + timedelta(days=7), reason="trial"
    )

    def plan(at: datetime) -> PlanName:
        return entitlements(bob, now=at).plan

    assert plan(NOON - SECOND) == PlanName.FREE
    assert plan(NOON) == PlanName.PREMIUM
    assert plan(NOON + timedelta(days=7) - SECOND) == PlanName.PREMIUM
    assert plan(NOON + timedelta(days=7)) == PlanName.FREE


def test_a_grant_of_somebody_else_gives_nothing(bob: User, oscar: User) -> None:
    PlanGrant.objects.create(user=oscar, plan=PlanName.PREMIUM, starts_at=NOON, reason="partner")

    assert entitlements(bob, now=NOON + SECOND) == PLANS[PlanName.FREE]
