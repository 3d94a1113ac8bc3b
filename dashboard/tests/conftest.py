from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import Settings

from accounts.models import User
from billing.entitlements import PLANS
from billing.models import PlanGrant, PlanName
from dashboard.tests.records import run_centrally
from market.models import HeartbeatStatus, Ticker
from signals.models import CENTRAL, AlgorithmPreferences, Call, Configuration, LatestSignal, Signal, Sweep
from signals.services.configurations import configuration_for
from signals.services.following import central_configurations, follow
from signals.services.housekeeping import bootstrap

PASSWORD = "a long and quiet password"
PERIOD = timedelta(minutes=2)


def last_slot() -> datetime:
    """The newest slot of the central feed: even minutes."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    return now - timedelta(minutes=now.minute % 2)


@pytest.fixture(autouse=True)
def _quick_passwords(settings: Settings) -> None:
    """Real hashing is slow on purpose; what is tested here is not the hash."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def product(db: None) -> None:
    """The rows the product needs: algorithms, master bot, schedules."""
    bootstrap(now=datetime.now(UTC))


@pytest.fixture
def central(product: None) -> list[Configuration]:
    """What the central feed runs: twelve configurations."""
    return central_configurations()


@pytest.fixture
def rsi(central: list[Configuration]) -> Configuration:
    """RSI, as the central feed has run it for ten days."""
    found = next(one for one in central if one.algorithm_id == "rsi")
    run_centrally(found, since=datetime.now(UTC) - timedelta(days=10))
    return found


@pytest.fixture
def tickers(product: None) -> list[Ticker]:
    """Thirty tickers by symbol, T29USDT being the most traded."""
    return [make_ticker(f"T{number:02}USDT", volume=number) for number in range(30)]


@pytest.fixture
def alice(central: list[Configuration], tickers: list[Ticker]) -> User:
    """Premium: all of the central feed, and a configuration of her own on her own schedule."""
    user = User.objects.create_user("alice", "alice@example.org", PASSWORD)
    now = datetime.now(UTC)
    PlanGrant.objects.create(user=user, plan=PlanName.PREMIUM, starts_at=now - timedelta(days=1), reason="test")
    follow(user=user, configurations=central, tickers=[], all_tickers=True, allowed=PLANS[PlanName.PREMIUM])
    own = configuration_for(algorithm_id="rsi", timeframe="5m", parameters={"period": 21}, now=now)
    AlgorithmPreferences.objects.create(
        user=user, configuration=own, all_tickers=True, execution_frequency="*/5 * * * *"
    )
    return user


@pytest.fixture
def own(alice: User) -> Configuration:
    """Alice's own configuration, which nobody else may see."""
    return AlgorithmPreferences.objects.for_user(alice).exclude(execution_frequency="").get().configuration


@pytest.fixture
def bob(central: list[Configuration], tickers: list[Ticker]) -> User:
    """Free: the first two algorithms on the first three tickers."""
    user = User.objects.create_user("bob", "bob@example.org", PASSWORD)
    follow(
        user=user,
        configurations=central[:2],
        tickers=tickers[:3],
        all_tickers=False,
        allowed=PLANS[PlanName.FREE],
    )
    return user


@pytest.fixture
def charlie(db: None) -> User:
    """A stranger: logged in, following nothing."""
    return User.objects.create_user("charlie", "charlie@example.org", PASSWORD)


@pytest.fixture
def oscar(db: None) -> User:
    return User.objects.create_superuser("oscar", "oscar@example.org", PASSWORD)


@pytest.fixture
def verdicts(central: list[Configuration], tickers: list[Ticker], own: Configuration) -> None:
    """A verdict and a call of every configuration on every ticker, also of alice's own."""
    give_verdicts([*central, own], tickers)


def make_ticker(symbol: str, volume: float = 1.0) -> Ticker:
    return Ticker.objects.create(
        exchange="simulated",
        symbol=symbol,
        base_asset=symbol.removesuffix("USDT"),
        quote_asset="USDT",
        tick_size="0.01",
        step_size="0.001",
        min_notional="5",
        is_followed=True,
        quote_volume_24h=volume,
        discovered_at=datetime.now(UTC),
    )


def give_verdicts(configurations: Sequence[Configuration], tickers: Sequence[Ticker]) -> None:
    slot = last_slot()
    pairs = [(configuration, ticker) for configuration in configurations for ticker in tickers]
    LatestSignal.objects.bulk_create(
        LatestSignal(
            configuration=configuration,
            ticker=ticker,
            candle_closed_at=slot,
            slot=slot,
            signal=Signal.DO_NOTHING,
            value=43.2,
            price=100.5,
            called_signal=Signal.BUY,
            called_at=slot - PERIOD,
        )
        for configuration, ticker in pairs
    )
    Call.objects.bulk_create(
        Call(
            configuration=configuration,
            ticker=ticker,
            candle_closed_at=slot - PERIOD,
            slot=slot - PERIOD,
            signal=Signal.BUY,
            previous_signal=Signal.DO_NOTHING,
            value=29.1,
            price=99.5,
            candles_digest=b"0" * 16,
            algorithm_version=1,
            published_at=slot,
        )
        for configuration, ticker in pairs
    )


def close_sweep(slot: datetime, **counts: int) -> Sweep:
    """A closed sweep of the central feed over 30 tickers."""
    return Sweep.objects.create(
        feed=CENTRAL,
        slot=slot,
        status=Sweep.Status.CLOSED,
        ticker_ids=list(range(1, 31)),
        started_at=slot,
        closed_at=slot + timedelta(seconds=2),
        duration_ms=1_840,
        **({"ok": 30, "results": 360, "calls": 4} | counts),
    )


def note_heartbeat(
    *, updated_at: datetime, last_message_at: datetime | None = None, is_connected: bool = True
) -> HeartbeatStatus:
    return HeartbeatStatus.objects.create(
        exchange="simulated",
        is_connected=is_connected,
        last_message_at=last_message_at or updated_at,
        watermarks={"2m": round(updated_at.timestamp() * 1000)},
        updated_at=updated_at,
    )
