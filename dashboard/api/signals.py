"""The JSON of the signals page. Instants are milliseconds since 1970 UTC, as on the WebSocket."""

from __future__ import annotations

import functools
from typing import Any, Literal, TypedDict, cast

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_GET

from accounts.models import User
from billing.entitlements import entitlements
from dashboard.api.replies import JsonView, answer, refuse
from live.messages import MarketFrame, SweepClosedFrame
from market import clock
from market.models import Ticker, Timeframe
from market.store import CandleStore
from signals.models import Call, Configuration, LatestSignal
from signals.services.evaluation import to_ms
from signals.services.following import Following, followed_by
from signals.services.sweeps import closed_frame
from watch.services.freshness import freshness, market_freshness

NEWEST_CALLS = 200
CANDLES = 500

# configuration, ticker, signal, closed_at, called signal ("": never), called_at, value, price, reason
Cell = tuple[int, int, str, int, str, int | None, float | None, float | None, str]


class ConfigurationJson(TypedDict):
    id: int
    algorithm: str
    name: str
    description: str
    timeframe: str
    version: int
    parameters: dict[str, Any]
    is_own: bool  # not of the central feed
    tickers: list[int] | None  # ids of those it runs on; None: on all that the page shows


class CallJson(TypedDict):
    configuration: int
    algorithm: str
    ticker: str
    closed_at: int
    signal: str
    previous_signal: str
    price: float
    value: float | None


class MatrixJson(TypedDict):
    """All that the page shows first; from then on the WebSocket's frames move it."""

    v: Literal[1]
    at: int  # the server's clock
    plan: str
    hidden_configurations: int  # followed, but beyond the plan
    hidden_tickers: int
    configurations: list[ConfigurationJson]
    tickers: list[tuple[int, str, float]]  # id, symbol, price step
    cells: list[Cell]
    sweep: SweepClosedFrame | None  # the last closed sweep of the central feed
    period: int  # between two sweeps
    next_slot: int
    market: MarketFrame
    calls: list[CallJson]  # newest first


class CandlesJson(TypedDict):
    ticker: str
    timeframe: str
    tick_size: float
    candles: list[list[float]]  # open_time, open, high, low, close, volume; oldest first


def for_users(view: JsonView) -> JsonView:
    """GET for people who are logged in, compressed and never cached; everybody else gets a 401 as JSON."""

    @never_cache
    @gzip_page
    @require_GET
    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return refuse(401, "not_logged_in", "Your session has ended. Log in again.")
        return view(request, *args, **kwargs)

    return cast("JsonView", guarded)


def _following(request: HttpRequest) -> Following:
    user = cast("User", request.user)
    return followed_by(user=user, allowed=entitlements(user, now=timezone.now()))


@for_users
def get_matrix(request: HttpRequest) -> HttpResponse:
    """MatrixJson: the newest verdict of everything the user follows, within the plan."""
    user, now = cast("User", request.user), timezone.now()
    allowed = entitlements(user, now=now)
    following = followed_by(user=user, allowed=allowed)
    # Read before the cells: whatever is written between is told again by the WebSocket, from this slot on.
    feed = freshness(clock.now())
    return answer(
        MatrixJson(
            v=1,
            at=to_ms(feed.at),
            plan=allowed.plan.label,
            hidden_configurations=following.hidden_configurations,
            hidden_tickers=following.hidden_tickers,
            configurations=[_configuration(one, following) for one in following.configurations],
            tickers=[(ticker.pk, ticker.symbol, float(ticker.tick_size)) for ticker in following.tickers],
            cells=_cells(following),
            sweep=closed_frame(feed.sweep) if feed.sweep else None,
            period=round(feed.period.total_seconds() * 1000),
            next_slot=to_ms(feed.next_slot),
            market=market_freshness(now).frame,
            calls=_calls(user, following.rows()),
        )
    )


@for_users
def get_candles(request: HttpRequest, ticker: str, timeframe: str) -> HttpResponse:
    """CandlesJson: the last 500 closed candles of a ticker the user follows."""
    if timeframe not in Timeframe.values:
        return refuse(404, "no_such_timeframe", f"Choose one of the timeframes {', '.join(Timeframe.values)}.")
    found = _following(request).ticker(ticker)
    if found is None:
        return refuse(404, "not_followed", f"You do not follow {ticker}. Add it under Following.")
    return answer(
        CandlesJson(
            ticker=ticker, timeframe=timeframe, tick_size=float(found.tick_size), candles=_candles(found, timeframe)
        )
    )


@for_users
def list_calls(request: HttpRequest) -> HttpResponse:
    """{"calls": [CallJson]}: the newest 200 of what the user follows, of `ticker` and `algorithm` where given."""
    wanted = _following(request).rows(ticker=request.GET.get("ticker"), algorithm=request.GET.get("algorithm"))
    return answer({"calls": _calls(cast("User", request.user), wanted)})


def _configuration(configuration: Configuration, following: Following) -> ConfigurationJson:
    runs_on = following.pairs[configuration.pk]
    return ConfigurationJson(
        id=configuration.pk,
        algorithm=configuration.algorithm_id,
        name=configuration.algorithm.name,
        description=configuration.algorithm.description,
        timeframe=configuration.timeframe,
        version=configuration.version,
        parameters=configuration.parameters,
        is_own=configuration.pk not in following.central_ids,
        tickers=sorted(runs_on) if len(runs_on) < len(following.tickers) else None,
    )


def _cells(following: Following) -> list[Cell]:
    rows = LatestSignal.objects.filter(following.rows()).values_list(
        "configuration_id",
        "ticker_id",
        "signal",
        "candle_closed_at",
        "called_signal",
        "called_at",
        "value",
        "price",
        "reason",
    )
    return [
        (
            configuration,
            ticker,
            signal,
            to_ms(closed_at),
            called_signal,
            to_ms(called_at) if called_at else None,
            value,
            price,
            reason,
        )
        for configuration, ticker, signal, closed_at, called_signal, called_at, value, price, reason in rows
    ]


def _calls(user: User, wanted: Q) -> list[CallJson]:
    rows = (
        Call.objects.visible_to(user, timezone.now())
        .filter(wanted)
        .order_by("-candle_closed_at", "-pk")
        .values_list(
            "configuration_id",
            "configuration__algorithm_id",
            "ticker__symbol",
            "candle_closed_at",
            "signal",
            "previous_signal",
            "price",
            "value",
        )
    )
    return [
        CallJson(
            configuration=configuration,
            algorithm=algorithm,
            ticker=symbol,
            closed_at=to_ms(closed_at),
            signal=signal,
            previous_signal=previous_signal,
            price=price,
            value=value,
        )
        for configuration, algorithm, symbol, closed_at, signal, previous_signal, price, value in rows[:NEWEST_CALLS]
    ]


def _candles(ticker: Ticker, timeframe: str) -> list[list[float]]:
    candles = CandleStore().load([ticker.pk], timeframe)[ticker.pk]
    return cast("list[list[float]]", candles.window(len(candles), CANDLES).rows.tolist())
