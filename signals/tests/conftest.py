from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pytest_django import Settings

from accounts.models import User
from billing.models import PlanGrant, PlanName
from engine import registry
from engine.candles import Candles, Float64s, aggregate
from market import clock
from market.candles import Block, write_candles
from market.models import Ticker
from market.store import CandleStore
from signals.models import Sweep
from signals.services import evaluation
from signals.services.housekeeping import bootstrap
from signals.services.sweeps import open_central_sweep

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ALGORITHMS = len(registry.all_algorithms())
HISTORY = 1_000  # candles of 2m


@pytest.fixture(autouse=True)
def _fresh_process(db: None) -> None:
    """What a worker process remembers belongs to rows that the last test rolled back."""
    evaluation.plan_of.cache_clear()
    evaluation._symbols.clear()


@pytest.fixture(autouse=True)
def _quick_passwords(settings: Settings) -> None:
    """Real hashing is slow on purpose; what is tested here is not the hash."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def market_at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exchange's clock stands where the candles are. By the real one every slot since then was missed, and is looked
    for: the longer ago noon is, the longer that takes.
    """
    monkeypatch.setattr(clock, "now", lambda: NOON + timedelta(seconds=4))


@pytest.fixture
def product(db: None) -> None:
    """The rows the product needs."""
    bootstrap(now=NOON)


@pytest.fixture
def alice(db: None) -> User:
    user = User.objects.create_user("alice", "alice@example.org", "alice's long password")
    PlanGrant.objects.create(user=user, plan=PlanName.PREMIUM, starts_at=NOON - timedelta(days=400), reason="test")
    return user


@pytest.fixture
def bob(db: None) -> User:
    return User.objects.create_user("bob", "bob@example.org", "bob's long password")


@pytest.fixture
def charlie(db: None) -> User:
    return User.objects.create_user("charlie", "charlie@example.org", "charlie's long password")


@pytest.fixture
def tickers(product: None) -> list[Ticker]:
    """Three tickers with 2,000 minutes of candles up to noon and half an hour beyond."""
    made = [make_ticker(symbol) for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT")]
    for number, ticker in enumerate(made):
        give_candles(ticker, minutes_of(number))
    return made


@pytest.fixture
def sweep(tickers: list[Ticker], market_at_noon: None) -> Sweep:
    return open_sweep(NOON)


def make_ticker(symbol: str) -> Ticker:
    return Ticker.objects.create(
        exchange="simulated",
        symbol=symbol,
        base_asset=symbol.removesuffix("USDT"),
        quote_asset="USDT",
        tick_size="0.01",
        step_size="0.0001",
        min_notional="5",
        is_followed=True,
        discovered_at=NOON,
    )


def minutes_of(seed: int, until: datetime = NOON + timedelta(minutes=30), count: int = 2 * HISTORY) -> Float64s:
    """An (n, 6) array of 1m candles up to an instant: a seeded random walk with enough movement to trade on."""
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.002, count)) + 0.02 * np.sin(np.arange(count) / 40))
    open_ = np.r_[close[0], close[:-1]]
    spread = np.abs(random.normal(0, 0.001, (2, count)))
    high = np.maximum(open_, close) * (1 + spread[0])
    low = np.minimum(open_, close) * (1 - spread[1])
    first = until.timestamp() * 1000 - count * 60_000
    return np.column_stack((first + np.arange(count) * 60_000.0, open_, high, low, close, random.uniform(1, 9, count)))


def give_candles(ticker: Ticker, minutes: Float64s, *timeframes: str) -> None:
    """Writes the minutes and the higher candles built from them to Postgres and to the candle store."""
    blocks = [Block(ticker.pk, "1m", minutes)]
    for timeframe in timeframes or ("2m",):
        built = aggregate(Candles.from_rows(minutes, "1m"), timeframe)
        blocks.append(Block(ticker.pk, timeframe, built.rows))
    write_candles(blocks, received_at=NOON)
    CandleStore().replace(blocks)


def open_sweep(slot: datetime) -> Sweep:
    sweep = open_central_sweep(slot=slot, note="", now=datetime.now(UTC))
    assert sweep is not None
    return sweep


def candles_of(ticker: Ticker, timeframe: str = "2m") -> Candles:
    return CandleStore().load([ticker.pk], timeframe)[ticker.pk]
