"""Which tickers there are and which are followed; what of the market is thrown away."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TypedDict

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from exchanges.base import Symbol
from market.candles import candle_table
from market.models import CandleRevision, Ticker, Universe
from market.partitions import drop_partitions

REVISIONS_AT_ONCE = 5_000


class EmptyListing(Exception):
    """The exchange listed no market at all. Nothing was changed: believing it would end everything. Ask again later."""


class PopulateCounts(TypedDict):
    """What discovery found and changed, in tickers."""

    listed: int
    created: int
    halted: int
    delisted: int
    followed: int


def bootstrap_universe(exchange: str) -> Universe:
    """The exchange's rules, made with their defaults if there are none yet."""
    # All of a simulated market was asked for; a real one has the same asset against a dozen others.
    quote_assets = "" if settings.IS_SIMULATED else "USDT"
    universe, _ = Universe.objects.get_or_create(exchange=exchange, defaults={"quote_assets": quote_assets})
    return universe


def get_available_tickers() -> list[Ticker]:
    """Every ticker that is followed, listed and trading, in the order of its symbol."""
    return list(Ticker.objects.active().order_by("symbol"))


@transaction.atomic
def populate_tickers(
    *, listed: Iterable[Symbol], volumes: dict[str, float], exchange: str, now: datetime
) -> PopulateCounts:
    """Brings the tickers up to what the exchange lists, and follows those that the universe's rules choose.

    `volumes`: symbol -> volume of the last 24 hours in the quote asset; a symbol without one has traded nothing. Nothing
    is deleted: what is not listed any more is marked. Raises EmptyListing.
    """
    symbols = {symbol.symbol: symbol for symbol in listed}
    if not symbols:
        raise EmptyListing(f"{exchange} listed no market at all")
    bootstrap_universe(exchange)
    # Two discoveries at once take turns here.
    universe = Universe.objects.select_for_update().get(exchange=exchange)
    followed = choose_followed(universe, symbols.values(), volumes)
    known = set(Ticker.objects.filter(exchange=exchange).values_list("symbol", flat=True))
    tickers = [
        Ticker(
            exchange=exchange,
            symbol=symbol.symbol,
            base_asset=symbol.base_asset,
            quote_asset=symbol.quote_asset,
            tick_size=symbol.tick_size,
            step_size=symbol.step_size,
            min_notional=symbol.min_notional,
            status=Ticker.Status.TRADING if symbol.is_trading else Ticker.Status.HALTED,
            is_followed=symbol.symbol in followed,
            quote_volume_24h=volumes.get(symbol.symbol, 0.0),
            discovered_at=now,
            delisted_at=None,
        )
        for symbol in symbols.values()
    ]
    kept = {"exchange", "symbol", "discovered_at"}
    Ticker.objects.bulk_create(
        tickers,
        update_conflicts=True,
        unique_fields=["exchange", "symbol"],
        update_fields=[
            field.name for field in Ticker._meta.concrete_fields if not field.primary_key and field.name not in kept
        ],
        batch_size=1_000,
    )
    gone = Ticker.objects.filter(~Q(symbol__in=symbols), exchange=exchange).exclude(status=Ticker.Status.DELISTED)
    delisted = gone.update(status=Ticker.Status.DELISTED, is_followed=False, delisted_at=now)
    return {
        "listed": len(symbols),
        "created": len(symbols.keys() - known),
        "halted": sum(not symbol.is_trading for symbol in symbols.values()),
        "delisted": delisted,
        "followed": len(followed),
    }


def choose_followed(universe: Universe, listed: Iterable[Symbol], volumes: dict[str, float]) -> set[str]:
    """The symbols that the rules choose: never an excluded one, every included one, of the others the most traded."""
    quotes = {quote.strip().upper() for quote in universe.quote_assets.split(",") if quote.strip()}
    include, exclude = set(universe.include.split()), set(universe.exclude.split())
    chosen = [
        symbol.symbol
        for symbol in listed
        if symbol.symbol not in exclude
        and (
            symbol.symbol in include
            or (
                (not quotes or symbol.quote_asset in quotes)
                and volumes.get(symbol.symbol, 0.0) >= universe.minimum_volume
            )
        )
    ]
    # A halted market keeps its place: it is followed again the moment it trades.
    chosen.sort(key=lambda symbol: (symbol not in include, -volumes.get(symbol, 0.0), symbol))
    return set(chosen[: universe.maximum_tickers])


def prune_candles(*, now: datetime) -> dict[str, int]:
    """Drops the candles past settings.CANDLE_RETENTION, by whole partitions, and old revisions.

    Returns how many partitions (by timeframe) and revisions went. Not inside a transaction: partitions are detached
    beside readers.
    """
    counts = {
        timeframe: len(drop_partitions(candle_table(timeframe), before=now - retention))
        for timeframe, retention in settings.CANDLE_RETENTION.items()
    }
    counts["revisions"] = _prune_revisions(now - settings.CANDLE_REVISION_RETENTION)
    return counts


def _prune_revisions(before: datetime) -> int:
    """In portions, so that no lock is held for long."""
    pruned = 0
    while True:
        ids = CandleRevision.objects.filter(seen_at__lt=before).values("pk")[:REVISIONS_AT_ONCE]
        number, _ = CandleRevision.objects.filter(pk__in=ids).delete()
        pruned += number
        if number < REVISIONS_AT_ONCE:
            return pruned
