"""What a user follows of the central feed, within the plan's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

from django.db import transaction
from django.db.models import Q

from accounts.models import User
from billing.entitlements import Entitlements
from market.models import Ticker
from signals.models import AlgorithmPreferences, Configuration


class BeyondPlan(ValueError):
    """More than the plan allows. The message says how much that is. Remedy: choose fewer, or another plan."""


@dataclass(frozen=True, slots=True)
class Following:
    """What a user sees: configurations by name, tickers by symbol, and which go together."""

    configurations: tuple[Configuration, ...]
    tickers: tuple[Ticker, ...]
    pairs: dict[int, frozenset[int]]  # configuration -> tickers
    central_ids: frozenset[int] = frozenset()  # those of the configurations that the central feed runs
    hidden_configurations: int = 0  # followed, but beyond what the plan shows
    hidden_tickers: int = 0

    def ticker(self, symbol: str) -> Ticker | None:
        """The followed ticker of this symbol, or None."""
        return next((ticker for ticker in self.tickers if ticker.symbol == symbol), None)

    def rows(self, *, ticker: str | None = None, algorithm: str | None = None) -> Q:
        """Picks these pairs (of one ticker, of one algorithm) out of anything that has both: verdicts and calls.

        One term for each distinct set of tickers, which is one for whoever uses our pages.
        """
        wanted = {one.pk for one in self.configurations if algorithm in (None, one.algorithm_id)}
        named = frozenset(one.pk for one in self.tickers if ticker in (None, one.symbol))
        groups: dict[frozenset[int], list[int]] = {}
        for configuration, tickers in self.pairs.items():
            if configuration in wanted and tickers & named:
                groups.setdefault(tickers & named, []).append(configuration)
        terms = [Q(configuration__in=ids, ticker__in=tickers) for tickers, ids in groups.items()]
        return reduce(or_, terms, Q(pk__in=[]))


def followed_by(*, user: User, allowed: Entitlements) -> Following:
    """What `user` follows, cut to what the plan allows now: a plan that ended hides the rest and deletes nothing."""
    return followed_by_each(allowed={user.pk: allowed})[user.pk]


def followed_by_each(*, allowed: Mapping[int, Entitlements]) -> dict[int, Following]:
    """The same for many users, by their ids. Four queries, however many they are and however much is followed."""
    followed: dict[int, list[AlgorithmPreferences]] = {user_id: [] for user_id in allowed}
    for one in (
        AlgorithmPreferences.objects.for_users(allowed)
        .enabled()
        .select_related("configuration__algorithm")
        .order_by("configuration__algorithm__name", "configuration")
    ):
        followed[one.user_id].append(one)
    if not any(followed.values()):
        return {user_id: Following((), (), {}) for user_id in allowed}
    central_ids = set(AlgorithmPreferences.objects.central().values_list("configuration", flat=True))
    shown = {
        user_id: [one for one in followed[user_id] if plan.own_schedules or one.configuration_id in central_ids][
            : plan.followed_algorithms
        ]
        for user_id, plan in allowed.items()
    }
    everybodys = [one for preferences in shown.values() for one in preferences]
    chosen = _chosen_tickers(everybodys)
    active = Ticker.objects.active().order_by("symbol")
    if not any(one.all_tickers for one in everybodys):  # of thousands, mostly a few: every socket asks this
        active = active.filter(pk__in=set[int]().union(*chosen.values()))
    everything = list(active)
    following = {}
    for user_id, plan in allowed.items():
        mine = shown[user_id]
        named = set[int]().union(*(chosen[one.pk] for one in mine))
        takes_all = any(one.all_tickers for one in mine)
        wanted = [ticker for ticker in everything if takes_all or ticker.id in named]
        tickers = wanted[: plan.followed_tickers]
        seen = frozenset(ticker.pk for ticker in tickers)
        following[user_id] = Following(
            configurations=tuple(one.configuration for one in mine),
            tickers=tuple(tickers),
            pairs={one.configuration_id: seen if one.all_tickers else seen & chosen[one.pk] for one in mine},
            central_ids=frozenset(one.configuration_id for one in mine) & central_ids,
            hidden_configurations=len(followed[user_id]) - len(mine),
            hidden_tickers=len(wanted) - len(tickers),
        )
    return following


def _chosen_tickers(preferences: Sequence[AlgorithmPreferences]) -> dict[int, set[int]]:
    """Preference -> the tickers named one by one. Read from the table between, so that no Ticker is loaded twice."""
    chosen: dict[int, set[int]] = {one.pk: set() for one in preferences}
    named = [one.pk for one in preferences if not one.all_tickers]
    rows = AlgorithmPreferences.tickers.through.objects.filter(algorithmpreferences__in=named)
    for preference_id, ticker_id in rows.values_list("algorithmpreferences_id", "ticker_id"):
        chosen[preference_id].add(ticker_id)
    return chosen


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
    User.objects.select_for_update().get(pk=user.pk)  # two open pages take turns
    mine = AlgorithmPreferences.objects.for_user(user)
    mine.filter(execution_frequency="").exclude(configuration__in=configurations).delete()
    scheduled = set(mine.exclude(execution_frequency="").values_list("configuration", flat=True))
    for configuration in configurations:
        if configuration.pk not in scheduled:
            preference, _ = mine.update_or_create(
                user=user, configuration=configuration, defaults={"all_tickers": all_tickers, "is_enabled": True}
            )
            preference.tickers.set([] if all_tickers else tickers)


def follow_default(*, user: User, allowed: Entitlements) -> None:
    """Makes the user follow as much of the central feed as the plan allows: the most traded tickers first."""
    tickers = Ticker.objects.active()
    all_tickers = tickers.count() <= allowed.followed_tickers
    most_traded = tickers.order_by("-quote_volume_24h", "symbol")[: allowed.followed_tickers]
    follow(
        user=user,
        configurations=central_configurations()[: allowed.followed_algorithms],
        tickers=[] if all_tickers else list(most_traded),
        all_tickers=all_tickers,
        allowed=allowed,
    )


def central_configurations() -> list[Configuration]:
    """What the central feed runs, one configuration per enabled algorithm, by the algorithm's name."""
    preferences = AlgorithmPreferences.objects.central().select_related("configuration__algorithm")
    return [one.configuration for one in preferences.order_by("configuration__algorithm__name")]
