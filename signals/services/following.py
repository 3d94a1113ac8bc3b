"""What a user follows of the central feed, within the plan's numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from django.db import transaction

from accounts.models import User
from billing.entitlements import Entitlements, entitlements
from live.groups import group_name, is_private
from live.messages import Pair, RefusedPair
from market.models import Ticker
from signals.models import AlgorithmPreferences, Configuration


class BeyondPlan(ValueError):
    """More than the plan allows. The message says how much that is. Remedy: choose fewer, or another plan."""


@transaction.atomic
def follow(
    *,
    user: User,
    configurations: Sequence[Configuration],
    tickers: Sequence[Ticker],
    all_tickers: bool,
    allowed: Entitlements,
) -> None:
    """Makes the user follow exactly these configurations of the central feed on these tickers.

    Preferences with a schedule of their own are not touched. Raises BeyondPlan; nothing is changed then.
    """
    if len(configurations) > allowed.followed_algorithms:
        raise BeyondPlan(
            f"The {allowed.plan.label} plan follows up to {allowed.followed_algorithms} algorithms; "
            f"you chose {len(configurations)}."
        )
    if all_tickers and allowed.followed_tickers < Ticker.objects.active().count():
        raise BeyondPlan(f"The {allowed.plan.label} plan follows up to {allowed.followed_tickers} tickers, not all.")
    if len(tickers) > allowed.followed_tickers:
        raise BeyondPlan(
            f"The {allowed.plan.label} plan follows up to {allowed.followed_tickers} tickers; you chose {len(tickers)}."
        )
    mine = AlgorithmPreferences.objects.for_user(user).filter(execution_frequency="")
    mine.exclude(configuration__in=configurations).delete()
    for configuration in configurations:
        preference, _ = AlgorithmPreferences.objects.update_or_create(
            user=user,
            configuration=configuration,
            defaults={"all_tickers": all_tickers, "is_enabled": True},
        )
        preference.tickers.set([] if all_tickers else tickers)


def central_configurations() -> list[Configuration]:
    """What the central feed runs, one configuration per enabled algorithm, by the algorithm's name."""
    preferences = AlgorithmPreferences.objects.central().select_related("configuration__algorithm")
    return [one.configuration for one in preferences.order_by("configuration__algorithm__name")]


def refused_pairs(*, user: User, pairs: Sequence[Pair], joined: Collection[str], now: datetime) -> list[RefusedPair]:
    """Those of the pairs the user's socket may not join, each with the reason."""
    algorithms = set(AlgorithmPreferences.objects.central().values_list("configuration__algorithm", flat=True))
    symbols = set(
        Ticker.objects.active().filter(symbol__in={pair["ticker"] for pair in pairs}).values_list("symbol", flat=True)
    )
    allowed = entitlements(user, now=now)
    room = _most_groups(allowed) - sum(not is_private(group) for group in joined)
    refused: list[RefusedPair] = []
    for pair in pairs:
        if pair["algorithm"] not in algorithms:
            refused.append({**pair, "reason": "the central feed does not run this algorithm"})
        elif pair["ticker"] not in symbols:
            refused.append({**pair, "reason": "this ticker is not followed"})
        elif group_name(pair["algorithm"], pair["ticker"]) not in joined:
            if room <= 0:
                refused.append({**pair, "reason": f"the {allowed.plan.label} plan allows no more pairs at once"})
            room -= 1
    return refused


def may_stay(*, user: User, joined: Collection[str], now: datetime) -> bool:
    """Whether the plan still allows a socket as many groups as it is joined to."""
    return user.is_active and len(joined) <= _most_groups(entitlements(user, now=now)) + 2


def _most_groups(allowed: Entitlements) -> int:
    return allowed.followed_algorithms * allowed.followed_tickers
