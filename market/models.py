from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models

from engine.candles import TIMEFRAMES


class Timeframe(models.TextChoices):
    """The timeframes of engine.candles.TIMEFRAMES, as the database knows them."""

    M1 = "1m", "1m"
    M2 = "2m", "2m"
    M3 = "3m", "3m"
    M5 = "5m", "5m"
    M15 = "15m", "15m"
    H1 = "1h", "1h"
    H4 = "4h", "4h"

    @property
    def milliseconds(self) -> int:
        return TIMEFRAMES[self.value]


class Universe(models.Model):
    """Which of an exchange's symbols Boritrader follows. One row per exchange, the operator's to edit."""

    exchange = models.CharField(max_length=20, unique=True)
    quote_assets = models.CharField(
        max_length=200, default="USDT", help_text="Comma-separated, e.g. USDT,BTC. Empty: every quote asset."
    )
    minimum_volume = models.FloatField(
        default=0, help_text="Least traded volume of the last 24 hours, in the quote asset."
    )
    include = models.TextField(blank=True, help_text="Symbols followed whatever their volume, separated by blanks.")
    exclude = models.TextField(blank=True, help_text="Symbols never followed, separated by blanks.")
    maximum_tickers = models.PositiveIntegerField(default=2000, help_text="At most this many, the most traded first.")

    class Meta:
        verbose_name_plural = "universes"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(minimum_volume__gte=0), name="market_universe_minimum_volume_not_negative"
            )
        ]

    def __str__(self) -> str:
        return f"Universe of {self.exchange}"


class TickerQuerySet(models.QuerySet["Ticker"]):
    def active(self) -> TickerQuerySet:
        """Followed, listed and trading on this installation's exchange: what a sweep covers."""
        return self.filter(exchange=settings.EXCHANGE, is_followed=True, status=Ticker.Status.TRADING)


class Ticker(models.Model):
    """A symbol of an exchange, e.g. BTCUSDT. Never deleted: its past calls keep their name."""

    class Status(models.TextChoices):
        TRADING = "trading"
        HALTED = "halted"
        DELISTED = "delisted"

    exchange = models.CharField(max_length=20)
    symbol = models.CharField(max_length=60)

    base_asset = models.CharField(max_length=40)
    quote_asset = models.CharField(max_length=40)
    tick_size = models.DecimalField(max_digits=28, decimal_places=18, help_text="Step of a price, in the quote asset.")
    step_size = models.DecimalField(max_digits=28, decimal_places=18, help_text="Step of an amount, in the base asset.")
    min_notional = models.DecimalField(max_digits=28, decimal_places=18, help_text="Least worth of an order.")

    status = models.CharField(max_length=8, choices=Status, default=Status.TRADING)
    is_followed = models.BooleanField(
        default=False, help_text="In the universe. Discovery sets it from the rules there."
    )
    quote_volume_24h = models.FloatField(default=0)

    discovered_at = models.DateTimeField()
    delisted_at = models.DateTimeField(null=True, blank=True)

    objects = TickerQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["exchange", "symbol"], name="market_ticker_identity")]
        indexes = [
            # TickerQuerySet.active(): every sweep asks it.
            models.Index(
                fields=["symbol"],
                condition=models.Q(is_followed=True, status="trading"),
                name="market_ticker_active",
            ),
        ]

    def __str__(self) -> str:
        return self.symbol


class Candle(models.Model):
    """A closed candle. Written once by the heartbeat and never changed: a later value goes to CandleRevision.

    The real key is (ticker, timeframe, open_time); Postgres keeps the table in partitions by timeframe, then by day
    or year, so `id` is unique only by its sequence and nothing may refer to it.
    """

    ticker = models.ForeignKey(Ticker, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    timeframe = models.CharField(max_length=3, choices=Timeframe)
    open_time = models.DateTimeField()

    open = models.FloatField()
    high = models.FloatField()
    low = models.FloatField()
    close = models.FloatField()
    volume = models.FloatField(help_text="In the base asset.")

    received_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["ticker", "timeframe", "open_time"], name="market_candle_identity")
        ]

    def __str__(self) -> str:
        return f"ticker {self.ticker_id} {self.timeframe} {self.open_time:%Y-%m-%d %H:%M}"


class CandleRevision(models.Model):
    """A value the exchange gave later for a candle we already had. The candle itself keeps the first."""

    ticker = models.ForeignKey(Ticker, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    timeframe = models.CharField(max_length=3, choices=Timeframe)
    open_time = models.DateTimeField()
    seen_at = models.DateTimeField()

    open = models.FloatField()
    high = models.FloatField()
    low = models.FloatField()
    close = models.FloatField()
    volume = models.FloatField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["ticker", "timeframe", "open_time", "seen_at"], name="market_candlerevision_identity"
            )
        ]

    def __str__(self) -> str:
        return f"ticker {self.ticker_id} {self.timeframe} {self.open_time:%Y-%m-%d %H:%M} seen {self.seen_at:%H:%M:%S}"


class HeartbeatStatus(models.Model):
    """How the heartbeat of one exchange is. One row per exchange, written every few seconds by the heartbeat."""

    exchange = models.CharField(max_length=20, unique=True)

    is_connected = models.BooleanField(default=False)
    started_at = models.DateTimeField(null=True)
    stopped_at = models.DateTimeField(null=True)
    last_message_at = models.DateTimeField(null=True)

    tickers = models.PositiveIntegerField(default=0)
    reconnects = models.PositiveIntegerField(default=0)
    backfilled_candles = models.PositiveBigIntegerField(default=0)
    revised_candles = models.PositiveBigIntegerField(default=0)
    malformed_frames = models.PositiveBigIntegerField(default=0)
    clock_offset_ms = models.FloatField(default=0, help_text="The exchange's clock minus ours.")
    watermarks = models.JSONField(
        default=dict, help_text="Timeframe -> every candle that closed up to this instant (ms since 1970) is in."
    )

    updated_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "heartbeat statuses"

    def __str__(self) -> str:
        return f"Heartbeat of {self.exchange}"

    def age(self, at: datetime) -> float | None:
        """Seconds since the last message from the exchange, or None before the first."""
        return None if self.last_message_at is None else (at - self.last_message_at).total_seconds()
