"""Which frames go to which groups: from a task after its commit, from the relay's catch-up, from a replay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

from django.db import connection

from accounts.models import User
from billing.entitlements import Entitlements, entitlements
from engine.candles import CATCH_UP, TIMEFRAMES
from live.frames import Delivery, text_of
from live.groups import MARKET_GROUP, group_name, is_of_pair, user_group
from live.messages import Pair, RefusedPair, SignalFrame
from live.relay import Wanted
from signals.models import CENTRAL, AlgorithmPreferences, LatestSignal, Sweep
from signals.services.evaluation import Judgement, Plan, from_ms, owner_of, plan_of, symbols_of, to_ms
from signals.services.following import Following, followed_by, followed_by_each
from signals.services.results import Written
from signals.services.sweeps import closed_frame

# A browser that was away for more verdicts than this fetches the page's data anew.
MOST_REPLAYED = 20_000
# A sweep writes verdicts of candles that closed at most this long before its slot.
LONGEST_CATCH_UP = timedelta(milliseconds=CATCH_UP * max(TIMEFRAMES.values()))
# The relay looks this far back: a sweep becomes visible a while after the `closed_at` it was given.
OVERLAP = timedelta(seconds=60)
LONGEST_REPLAY = timedelta(hours=2)
FOR_EVER = datetime.max.replace(tzinfo=UTC)

FIND_RESULTS = """
SELECT result.configuration_id, configuration.algorithm_id, configuration.timeframe, ticker.symbol,
       result.candle_closed_at, result.slot, result.signal, result.value, result.price, result.reason,
       result.is_call
FROM signals_signalresult result
JOIN signals_configuration configuration ON configuration.id = result.configuration_id
JOIN market_ticker ticker ON ticker.id = result.ticker_id
WHERE result.slot >= %s AND result.slot <= %s AND result.candle_closed_at > %s
  AND result.configuration_id = ANY(%s) AND (%s::bigint[] IS NULL OR result.ticker_id = ANY(%s::bigint[]))
ORDER BY result.candle_closed_at
LIMIT %s
"""
# What a sweep wrote, by name only: mostly all of it has been delivered, and then nothing more need be read.
FIND_WRITTEN = """
SELECT configuration_id, candle_closed_at, array_agg(ticker_id)
FROM signals_signalresult
WHERE slot = %s AND candle_closed_at > %s AND configuration_id = ANY(%s)
  AND (%s::bigint[] IS NULL OR ticker_id = ANY(%s::bigint[]))
GROUP BY configuration_id, candle_closed_at
"""


def deliveries_of(*, plan: Plan, written: Written) -> list[tuple[str, SignalFrame]]:
    """What a task tells browsers after its commit.

    A new verdict of the central feed's configurations goes to its shared group, whichever feed wrote it. A premium
    feed tells its owner the newest verdict of each of its pairs, in their own group, whoever wrote that one.
    """
    symbols = symbols_of([one.ticker_id for one in written.inserted])
    slot_ms, central_ids = plan.slot_ms, plan.central_ids
    deliveries = [
        _delivery_of(one, slot_ms, symbols[one.ticker_id])
        for one in written.inserted
        if one.configuration.id in central_ids
    ]
    if plan.owner_id is not None:
        group = user_group(plan.owner_id)
        deliveries += [(group, frame) for frame in _newest_frames(plan, sorted(written.receipts))]
    return deliveries


def _delivery_of(judgement: Judgement, slot_ms: int, symbol: str) -> tuple[str, SignalFrame]:
    """The frame of a verdict that was just written, for its group of the central feed."""
    configuration = judgement.configuration
    algorithm_id = configuration.algorithm_id
    signal, _, _, value, price, reason, closed_at_ms, _ = judgement.verdict
    assert closed_at_ms is not None  # only candles that exist are judged
    return group_name(algorithm_id, symbol), {
        "type": "signal",
        "v": 1,
        "feed": CENTRAL,
        "configuration": configuration.id,
        "algorithm": algorithm_id,
        "ticker": symbol,
        "timeframe": configuration.timeframe,
        "closed_at": closed_at_ms,
        "slot": slot_ms,
        "signal": signal.value,
        "is_call": judgement.is_call,
        "value": value,
        "price": price,
        "reason": reason,
    }


def _newest_frames(plan: Plan, ticker_ids: Sequence[int]) -> list[SignalFrame]:
    """The newest verdict of each of the plan's pairs on these tickers, in the name of its feed."""
    configurations = {configuration.pk: configuration for configuration in plan.configurations}
    symbols = symbols_of(ticker_ids)
    return [
        {
            "type": "signal",
            "v": 1,
            "feed": plan.feed,
            "configuration": row.configuration_id,
            "algorithm": configurations[row.configuration_id].algorithm_id,
            "ticker": symbols[row.ticker_id],
            "timeframe": configurations[row.configuration_id].timeframe,
            "closed_at": to_ms(row.candle_closed_at),
            "slot": to_ms(row.slot),
            "signal": row.signal,  # type: ignore[typeddict-item]  # one of the three names
            "is_call": row.called_at == row.candle_closed_at,
            "value": row.value,
            "price": row.price,
            "reason": row.reason,
        }
        for row in LatestSignal.objects.filter(configuration__in=configurations, ticker__in=ticker_ids)
        if row.ticker_id in symbols
    ]


@dataclass(frozen=True, slots=True)
class Told:
    """What a relay's last look has told: it looks a little further back each time and tells no sweep twice."""

    looked_at: datetime
    sweep_ids: frozenset[int]


def catch_up(told: Told | None, *, wanted: Wanted, now: datetime) -> tuple[list[Delivery], Told]:
    """The relay's truth: all that sweeps closed since the last look had to say, each one's results before its closing.

    A closed sweep is final, so it is read once, and of it what is wanted here.
    """
    known = Told(now, frozenset()) if told is None else told
    # By their ids alone, as mostly nothing is new: a sweep carries thousands of tickers.
    closed = frozenset(Sweep.objects.closed_since(known.looked_at - OVERLAP).values_list("pk", flat=True))
    told_now = Told(now, closed)
    if not (new := closed - known.sweep_ids):
        return [], told_now
    news = list(Sweep.objects.filter(pk__in=new).order_by("closed_at"))
    # Asked after it is known what is closed, hence committed: who joins later than this finds that by himself.
    groups = wanted.groups()
    deliveries = [one for sweep in news for one in _deliveries_of_sweep(sweep, wanted, groups)]
    return deliveries, told_now


def _deliveries_of_sweep(sweep: Sweep, wanted: Wanted, groups: frozenset[str]) -> Iterable[Delivery]:
    if any(map(is_of_pair, groups)) and (lacking := _lacking_pairs(sweep, wanted, groups)):
        written = find_results(
            since=sweep.slot,
            until=sweep.slot,
            configuration_ids=sorted({configuration for configuration, _ in lacking}),
            ticker_ids=sorted({ticker for _, ticker in lacking}),
            most=None,
        )
        for frame in written:
            yield group_name(frame["algorithm"], frame["ticker"]), frame
    if sweep.feed != CENTRAL and (own := user_group(owner_of(sweep.feed))) in groups:
        for frame in _newest_frames(plan_of(sweep.pk), sweep.ticker_ids):
            yield own, frame
    yield closing_of(sweep)


def _lacking_pairs(sweep: Sweep, wanted: Wanted, groups: frozenset[str]) -> set[tuple[int, int]]:
    """(configuration, ticker) of the sweep's verdicts that these groups have not been told of."""
    plan = plan_of(sweep.pk)
    algorithms = {one.pk: one.algorithm_id for one in plan.configurations if one.pk in plan.central_ids}
    own_tickers = None if sweep.feed == CENTRAL else sweep.ticker_ids
    with connection.cursor() as cursor:
        cursor.execute(
            FIND_WRITTEN, [sweep.slot, sweep.slot - LONGEST_CATCH_UP, list(algorithms), own_tickers, own_tickers]
        )
        written = [(one, to_ms(closed_at), tickers) for one, closed_at, tickers in cursor.fetchall()]
    symbols = symbols_of([ticker for _, _, tickers in written for ticker in tickers])
    return {
        (one, ticker)
        for one, closed_at, tickers in written
        for ticker in tickers
        if ticker in symbols  # one that was deleted by hand
        and (group := group_name(algorithms[one], symbols[ticker])) in groups
        and wanted.lacks(group, one, symbols[ticker], closed_at)
    }


def closing_of(sweep: Sweep) -> Delivery:
    """The closing of a sweep, for everybody or for the owner of the feed. The relay takes it as a reason to look."""
    group = MARKET_GROUP if sweep.feed == CENTRAL else user_group(owner_of(sweep.feed))
    return group, closed_frame(sweep)


def find_results(
    *,
    since: datetime,
    until: datetime,
    configuration_ids: Sequence[int],
    ticker_ids: Sequence[int] | None,
    most: int | None,
) -> Iterator[SignalFrame]:
    """The verdicts that slots from `since` to `until` wrote, oldest candle first, as frames of the central feed.

    One by one: they may be many thousands, and a frame takes more than twice the room of its JSON.
    """
    tickers = None if ticker_ids is None else list(ticker_ids)
    with connection.cursor() as cursor:
        cursor.execute(
            FIND_RESULTS,
            [since, until, since - LONGEST_CATCH_UP, list(configuration_ids), tickers, tickers, most],
        )
        yield from map(_frame_of_row, cursor)


def _frame_of_row(row: tuple[Any, ...]) -> SignalFrame:
    configuration, algorithm, timeframe, ticker, closed_at, slot, signal, value, price, reason, is_call = row
    return {
        "type": "signal",
        "v": 1,
        "feed": CENTRAL,
        "configuration": configuration,
        "algorithm": algorithm,
        "ticker": ticker,
        "timeframe": timeframe,
        "closed_at": to_ms(closed_at),
        "slot": to_ms(slot),
        "signal": signal,
        "is_call": is_call,
        "value": value,
        "price": price,
        "reason": reason,
    }


def groups_of(*, user: User, now: datetime) -> list[str]:
    """The groups a user's socket is joined to: own and market, and one per pair of the central feed they see."""
    return groups_of_each(allowed={user.pk: entitlements(user, now=now)})[user.pk]


def groups_of_each(*, allowed: Mapping[int, Entitlements]) -> dict[int, list[str]]:
    """The same for many users, by their ids. Four queries."""
    return {
        user_id: [user_group(user_id), MARKET_GROUP, *_groups_of_pairs(following)]
        for user_id, following in followed_by_each(allowed=allowed).items()
    }


def _groups_of_pairs(following: Following) -> Iterable[str]:
    symbols = {ticker.pk: ticker.symbol for ticker in following.tickers}
    for configuration in following.configurations:
        if configuration.pk in following.central_ids:
            for ticker in following.pairs[configuration.pk]:
                yield group_name(configuration.algorithm_id, symbols[ticker])


def refused_pairs(*, user: User, pairs: Sequence[Pair], now: datetime) -> list[RefusedPair]:
    """Those of the pairs the user's socket may not join, each with the reason: it joins what the user sees, no more."""
    allowed = set(groups_of(user=user, now=now))
    return [
        {**pair, "reason": "you do not follow this pair; choose it under Following"}
        for pair in pairs
        if group_name(pair["algorithm"], pair["ticker"]) not in allowed
    ]


def replay(*, user: User, since_ms: int, market_now: datetime, now: datetime) -> list[str] | None:
    """Every verdict of what the user sees that was written from the slot `since_ms` on, oldest first: the frames' JSON.

    None where that is too much, or lies further back than LONGEST_REPLAY. The future holds nothing.
    """
    if since_ms < to_ms(market_now - LONGEST_REPLAY):
        return None
    if since_ms > to_ms(market_now + LONGEST_REPLAY):
        return []
    since = from_ms(since_ms)
    following = followed_by(user=user, allowed=entitlements(user, now=now))
    own = dict(
        AlgorithmPreferences.objects.for_user(user).exclude(execution_frequency="").values_list("configuration", "pk")
    )
    # Configurations that are followed on the same tickers are asked for together.
    same: dict[frozenset[int], list[int]] = {}
    for configuration, tickers in following.pairs.items():
        same.setdefault(frozenset(tickers), []).append(configuration)
    found: list[tuple[int, str]] = []  # close of the candle (ms), frame
    for followed, configurations in same.items():
        for frame in find_results(
            since=since,
            until=FOR_EVER,
            configuration_ids=sorted(configurations),
            ticker_ids=sorted(followed),
            most=MOST_REPLAYED + 1 - len(found),
        ):
            if frame["configuration"] in own:
                frame["feed"] = f"premium:{user.pk}:{own[frame['configuration']]}"
            found.append((frame["closed_at"], text_of(frame)))
        if len(found) > MOST_REPLAYED:
            return None
    found.sort(key=itemgetter(0))  # not by text: what one candle decided stays in Postgres' order
    return [text for _, text in found]
