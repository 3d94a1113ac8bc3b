"""The database's part of `bench relay`, run inside the product: who follows what, and the results of whole sweeps.

Nothing here is timed but the publishing: sessions and preferences are made in bulk, because logging in five thousand
people is not the subject.
"""

from __future__ import annotations

import asyncio
import functools
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import transaction
from redis import Redis

from accounts.models import User
from engine.evaluate import Signal
from live.groups import MARKET_GROUP, group_name
from live.messages import MarketFrame, SignalFrame
from live.publish import publish
from market.models import Ticker
from market.partitions import ensure_partition
from signals.models import CENTRAL, AlgorithmPreferences, Configuration, SignalResult, Sweep
from signals.services.delivery import closing_of
from signals.services.following import central_configurations
from signals.services.results import RESULTS
from workers.bench.yardsticks.broadcast import CHANNEL

# A free plan's worth: 2 algorithms on 5 tickers make the ten groups of each client.
ALGORITHMS: Final = 2
TICKERS: Final = 5
_PASSWORD: Final = "!"  # nobody can log in with it; the sessions are made here  # noqa: S105
_BACKEND: Final = "accounts.backends.PasswordBackend"


def prepare(*, clients: int, tickers: int) -> list[dict[str, Any]]:
    """Makes tickers, users, what they follow and their sessions; for each user the cookie, groups, and the results they get.

    A result's number is its place in the order of publishing: ticker by ticker, configuration by configuration.
    """
    now = datetime.now(UTC)
    Ticker.objects.bulk_create(
        Ticker(
            exchange=settings.EXCHANGE,
            symbol=f"BENCH{number:05}USDT",
            base_asset=f"BENCH{number:05}",
            quote_asset="USDT",
            tick_size=1,
            step_size=1,
            min_notional=1,
            is_followed=True,
            discovered_at=now,
        )
        for number in range(tickers)
    )
    users = User.objects.bulk_create(
        User(username=f"bench{number}", password=_PASSWORD, date_joined=now) for number in range(clients)
    )
    configurations, all_tickers = _configurations(), _tickers()
    choice = random.Random(1)
    preferences, links, picked = [], [], []
    for user in users:
        which = sorted(choice.sample(range(len(configurations)), ALGORITHMS))
        on = sorted(choice.sample(range(len(all_tickers)), TICKERS))
        picked.append([ticker * len(configurations) + configuration for ticker in on for configuration in which])
        preferences += [AlgorithmPreferences(user=user, configuration=configurations[one]) for one in which]
        links += [on] * ALGORITHMS
    chosen = AlgorithmPreferences.tickers.through
    chosen.objects.bulk_create(
        chosen(algorithmpreferences_id=preference.pk, ticker_id=all_tickers[one].pk)
        for preference, on in zip(AlgorithmPreferences.objects.bulk_create(preferences), links, strict=True)
        for one in on
    )
    return [
        {
            "cookie": session.session_key,
            "numbers": numbers,
            "groups": [MARKET_GROUP, *(_group_of(number) for number in numbers)],
        }
        for session, numbers in zip(_sessions(users, now), picked, strict=True)
    ]


def _sessions(users: list[User], now: datetime) -> list[Session]:
    store = SessionStore()
    return Session.objects.bulk_create(
        Session(
            session_key=f"bench{number:027}",
            session_data=store.encode(
                {
                    SESSION_KEY: str(user.pk),
                    BACKEND_SESSION_KEY: _BACKEND,
                    HASH_SESSION_KEY: user.get_session_auth_hash(),
                }
            ),
            expire_date=now + timedelta(days=1),
        )
        for number, user in enumerate(users)
    )


@functools.cache
def _configurations() -> list[Configuration]:
    return central_configurations()


@functools.cache
def _tickers() -> list[Ticker]:
    return list(Ticker.objects.active().order_by("symbol"))


def _group_of(number: int) -> str:
    ticker, configuration = divmod(number, len(_configurations()))
    return group_name(_configurations()[configuration].algorithm_id, _tickers()[ticker].symbol)


def sweep(*, run: int, results: int, batches: int, seconds: float, to: str) -> list[float]:
    """Writes and publishes one sweep's results, in `batches` transactions spread evenly over `seconds`.

    `to` is "product" or "stock". Returns, for each batch, the instant just before its COMMIT (CLOCK_MONOTONIC).
    """
    slot = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(minutes=2 * run)
    ensure_partition(RESULTS, slot)
    size = results // batches
    work = [
        [_result(number, slot) for number in range(first, first + size)] for first in range(0, size * batches, size)
    ]
    send = _Sender(to)
    begins = time.monotonic()
    commits = []
    for number, results_and_frames in enumerate(work):
        time.sleep(max(0.0, begins + number * seconds / batches - time.monotonic()))
        with transaction.atomic():
            SignalResult.objects.bulk_create([result for result, _, _ in results_and_frames])
            deliveries = [(group, frame) for _, group, frame in results_and_frames]
            commits.append(time.monotonic())
        send.results(deliveries)
    if to == "product":  # nobody else asks Postgres for what was closed
        _close(slot, results)
    return commits


def _close(slot: datetime, results: int) -> None:
    row = Sweep.objects.create(
        feed=CENTRAL,
        slot=slot,
        status=Sweep.Status.CLOSED,
        ticker_ids=[ticker.pk for ticker in _tickers()],
        configuration_ids=[configuration.pk for configuration in _configurations()],
        started_at=slot,
        closed_at=datetime.now(UTC),
        duration_ms=0,
        results=results,
    )
    publish([closing_of(row)])


def _result(number: int, slot: datetime) -> tuple[SignalResult, str, SignalFrame]:
    ticker_number, configuration_number = divmod(number, len(_configurations()))
    ticker, configuration = _tickers()[ticker_number], _configurations()[configuration_number]
    result = SignalResult(
        configuration=configuration,
        ticker=ticker,
        candle_closed_at=slot,
        slot=slot,
        signal=Signal.BUY.value,
        value=float(number),
        price=64_000.25,
        candles_digest=bytes(16),
    )
    at = int(slot.timestamp() * 1000)
    frame: SignalFrame = {
        "type": "signal",
        "v": 1,
        "feed": CENTRAL,
        "configuration": configuration.pk,
        "algorithm": configuration.algorithm_id,
        "ticker": ticker.symbol,
        "timeframe": configuration.timeframe,
        "closed_at": at,
        "slot": at,
        "signal": "BUY",
        "is_call": False,
        "value": float(number),
        "price": 64_000.25,
        "reason": "",
    }
    return result, group_name(configuration.algorithm_id, ticker.symbol), frame


def fan_out(*, count: int, to: str) -> list[float]:
    """Sends `count` market frames to everybody, one by one; for each, the instant just before (CLOCK_MONOTONIC)."""
    send = _Sender(to)
    sent = []
    for number in range(count):
        frame: MarketFrame = {
            "type": "market",
            "v": 1,
            "exchange": "simulated",
            "is_connected": True,
            "is_simulated": True,
            "at": number,
            "watermarks": {"1m": number, "2m": number},
        }
        sent.append(time.monotonic())
        send.to_all(frame)
    return sent


class _Sender:
    """How the product, the stock layer and the raw broadcast are told of frames."""

    def __init__(self, to: str) -> None:
        self._to = to

    def results(self, deliveries: list[tuple[str, SignalFrame]]) -> None:
        if self._to == "product":
            publish(deliveries)
        else:
            _runner().run(_send_all([(group, _text(frame)) for group, frame in deliveries]))

    def to_all(self, frame: MarketFrame) -> None:
        match self._to:
            case "product":
                publish([(MARKET_GROUP, frame)])
            case "stock":
                _runner().run(_send_all([(MARKET_GROUP, _text(frame))]))
            case "broadcast":
                _redis().publish(CHANNEL, _text(frame))
            case _:
                raise ValueError(f"nobody is called {self._to!r}")


def _text(frame: MarketFrame | SignalFrame) -> str:
    return msgspec.json.encode(frame).decode()


@functools.cache
def _redis() -> Redis:
    return Redis.from_url(settings.LIVE_URL)


@functools.cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner()


@functools.cache
def _stock_layer() -> Any:
    return RedisPubSubChannelLayer(hosts=[{"address": settings.LIVE_URL, "socket_timeout": None}])


async def _send_all(texts: list[tuple[str, str]]) -> None:
    # One after the other: a hundred at once were measured to be no faster, and they would not keep the order.
    for group, text in texts:
        await _stock_layer().group_send(group, {"type": "bench.frame", "text": text})
