from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import models

from accounts.models import User
from market.models import Ticker
from signals.models.algorithms import AlgorithmPreferences, Configuration, Signal


def visible_to(user: User | None, at: datetime) -> models.Q:
    """The one place that knows who sees which verdicts and calls: strangers see the central feed, delayed.

    A user sees the central feed live, and the configurations of their own premium preferences.
    """
    central = AlgorithmPreferences.objects.central().values("configuration")
    if user is None or not user.is_authenticated:
        return models.Q(configuration__in=central, candle_closed_at__lte=at - settings.PUBLIC_DELAY)
    own = AlgorithmPreferences.objects.for_user(user).values("configuration")
    return models.Q(configuration__in=central) | models.Q(configuration__in=own)


class SignalResultQuerySet(models.QuerySet["SignalResult"]):
    def visible_to(self, user: User | None, at: datetime) -> SignalResultQuerySet:
        return self.filter(visible_to(user, at))


class SignalResult(models.Model):
    """The verdict of a configuration on one candle of a ticker: the same whoever computes it, and when.

    Its identity is (configuration, ticker, candle_closed_at); it never names a user, a feed or a sweep. Partitioned by
    the day of candle_closed_at; whoever refers to a result stores that natural key.
    """

    configuration = models.ForeignKey(
        Configuration, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    ticker = models.ForeignKey(Ticker, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    candle_closed_at = models.DateTimeField()

    slot = models.DateTimeField(help_text="The sweep that wrote it.")
    signal = models.CharField(max_length=10, choices=Signal)
    is_call = models.BooleanField(db_default=False, help_text="It turned to BUY or SELL: there is a call of it.")
    value = models.FloatField(null=True)
    price = models.FloatField(null=True)
    reason = models.CharField(max_length=80, blank=True)
    candles_digest = models.BinaryField(max_length=16)

    objects = SignalResultQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                # By time first: what a sweep writes lies side by side.
                fields=["candle_closed_at", "configuration", "ticker"],
                name="signals_signalresult_identity",
            )
        ]
        indexes = [
            # Replay after a reconnect, and the relay's catch-up.
            models.Index(fields=["slot"], name="signals_signalresult_slot")
        ]

    def __str__(self) -> str:
        return f"{self.signal} configuration {self.configuration_id} ticker {self.ticker_id} {self.candle_closed_at}"


class LatestSignal(models.Model):
    """The newest verdict of a configuration on a ticker; it only moves forward."""

    configuration = models.ForeignKey(
        Configuration, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    ticker = models.ForeignKey(Ticker, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")

    candle_closed_at = models.DateTimeField()
    slot = models.DateTimeField()
    signal = models.CharField(max_length=10, choices=Signal)
    value = models.FloatField(null=True)
    price = models.FloatField(null=True)
    reason = models.CharField(max_length=80, blank=True)
    # The last BUY or SELL it turned to, and when.
    called_signal = models.CharField(max_length=10, choices=Signal, blank=True)
    called_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["configuration", "ticker"], name="signals_latestsignal_identity")
        ]

    def __str__(self) -> str:
        return f"{self.signal} configuration {self.configuration_id} ticker {self.ticker_id}"


class CallQuerySet(models.QuerySet["Call"]):
    def visible_to(self, user: User | None, at: datetime) -> CallQuerySet:
        return self.filter(visible_to(user, at))


class Call(models.Model):
    """A verdict that turned to BUY or SELL. For ever: a trigger in the database refuses UPDATE and DELETE."""

    configuration = models.ForeignKey(Configuration, models.PROTECT, related_name="calls")
    ticker = models.ForeignKey(Ticker, models.PROTECT, related_name="calls")
    candle_closed_at = models.DateTimeField()

    slot = models.DateTimeField()
    signal = models.CharField(max_length=10, choices=Signal)
    previous_signal = models.CharField(max_length=10, choices=Signal)
    value = models.FloatField(null=True)
    price = models.FloatField()
    candles_digest = models.BinaryField(max_length=16)
    algorithm_version = models.PositiveIntegerField()
    published_at = models.DateTimeField()

    objects = CallQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["configuration", "ticker", "candle_closed_at"], name="signals_call_identity"
            ),
            models.CheckConstraint(
                condition=models.Q(signal__in=["BUY", "SELL"]) & ~models.Q(signal=models.F("previous_signal")),
                name="signals_call_is_a_turn",
            ),
            # So that each call is in the ledger's text of some day, which is looked for by the candle (three days at most).
            models.CheckConstraint(
                condition=models.Q(
                    candle_closed_at__lte=models.F("slot"),
                    slot__lte=models.F("published_at"),
                    published_at__lt=models.F("candle_closed_at") + timedelta(days=3),
                ),
                name="signals_call_is_in_order",
            ),
        ]
        indexes = [
            # The feed of the newest calls.
            models.Index(fields=["-candle_closed_at"], name="signals_call_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.signal} configuration {self.configuration_id} ticker {self.ticker_id} {self.candle_closed_at}"
