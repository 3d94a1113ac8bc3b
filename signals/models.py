from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

from accounts.models import User
from engine.evaluate import Signal as EngineSignal
from market.models import Ticker, Timeframe

CENTRAL = "central"


class Signal(models.TextChoices):
    BUY = EngineSignal.BUY.value, "BUY"
    SELL = EngineSignal.SELL.value, "SELL"
    DO_NOTHING = EngineSignal.DO_NOTHING.value, "DO NOTHING"


class Algorithm(models.Model):
    """An algorithm of the engine as the operator runs it in the central feed."""

    id = models.SlugField(primary_key=True, max_length=40)
    name = models.CharField(max_length=80)
    description = models.TextField()
    is_enabled = models.BooleanField(default=True, help_text="Part of the central feed.")
    timeframe = models.CharField(max_length=3, choices=Timeframe, default=Timeframe.M2)

    def __str__(self) -> str:
        return self.name


class Configuration(models.Model):
    """An algorithm's version on a timeframe with exact parameters. Immutable: whoever wants other values makes another."""

    digest = models.CharField(max_length=64, unique=True, editable=False)
    algorithm = models.ForeignKey(Algorithm, models.PROTECT, related_name="configurations")
    version = models.PositiveIntegerField()
    timeframe = models.CharField(max_length=3, choices=Timeframe)
    parameters = models.JSONField(default=dict)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        values = ", ".join(f"{name} {value}" for name, value in sorted(self.parameters.items()))
        return f"{self.algorithm_id} v{self.version} {self.timeframe} ({values})"


class AlgorithmPreferencesQuerySet(models.QuerySet["AlgorithmPreferences"]):
    def for_user(self, user: User) -> AlgorithmPreferencesQuerySet:
        return self.filter(user=user)

    def enabled(self) -> AlgorithmPreferencesQuerySet:
        return self.filter(is_enabled=True)

    def central(self) -> AlgorithmPreferencesQuerySet:
        """The master bot's: what the central feed runs."""
        return self.enabled().filter(
            user__username=settings.MASTER_BOT_USERNAME, configuration__algorithm__is_enabled=True
        )


class AlgorithmPreferences(models.Model):
    """What a user wants of one configuration: on which tickers, and (premium) on which schedule of their own.

    Without `execution_frequency` the user follows the central feed. With it, beat runs the configuration for this
    user alone; the row of django-celery-beat is `premium:<user id>:<preference id>`.
    """

    class Frequency(models.TextChoices):
        CENTRAL = "", "with the central feed"
        EVERY_MINUTE = "*/1 * * * *", "every minute"
        EVERY_2_MINUTES = "*/2 * * * *", "every 2 minutes"
        EVERY_5_MINUTES = "*/5 * * * *", "every 5 minutes"
        EVERY_15_MINUTES = "*/15 * * * *", "every 15 minutes"
        HOURLY = "0 * * * *", "every hour"
        EVERY_4_HOURS = "0 */4 * * *", "every 4 hours"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="algorithm_preferences")
    configuration = models.ForeignKey(Configuration, models.PROTECT, related_name="preferences")
    tickers = models.ManyToManyField(Ticker, blank=True, related_name="+")
    all_tickers = models.BooleanField(default=False)
    execution_frequency = models.CharField(max_length=20, choices=Frequency, default=Frequency.CENTRAL, blank=True)
    is_enabled = models.BooleanField(default=True)

    objects = AlgorithmPreferencesQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "algorithm preferences"
        constraints = [
            models.UniqueConstraint(fields=["user", "configuration"], name="signals_algorithmpreferences_identity")
        ]

    def __str__(self) -> str:
        return f"user {self.user_id}: {self.configuration}"

    @property
    def feed(self) -> str:
        """The feed this preference's own schedule runs."""
        return f"premium:{self.user_id}:{self.pk}"


class SweepQuerySet(models.QuerySet["Sweep"]):
    def central(self) -> SweepQuerySet:
        return self.filter(feed=CENTRAL)

    def open(self) -> SweepQuerySet:
        return self.filter(status=Sweep.Status.OPEN)

    def closed_since(self, at: datetime) -> SweepQuerySet:
        return self.filter(status=Sweep.Status.CLOSED, closed_at__gte=at)


class Sweep(models.Model):
    """One run of one feed over its tickers. (feed, slot) is unique: whoever inserts the row runs the sweep."""

    class Status(models.TextChoices):
        OPEN = "open"
        CLOSED = "closed"
        MISSED = "missed"

    feed = models.CharField(max_length=60)
    slot = models.DateTimeField(help_text="The instant the sweep stands for, on the exchange's clock.")
    status = models.CharField(max_length=6, choices=Status, default=Status.OPEN)
    note = models.CharField(max_length=300, blank=True, help_text="Why it was missed, or what was late.")

    ticker_ids = ArrayField(models.BigIntegerField(), default=list)
    configuration_ids = ArrayField(models.BigIntegerField(), default=list)
    started_at = models.DateTimeField(help_text="Own clock.")
    resent_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    duration_ms = models.PositiveIntegerField(null=True, help_text="From start to the last receipt.")

    ok = models.PositiveIntegerField(default=0)
    stale = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    missing = models.PositiveIntegerField(default=0)
    results = models.PositiveIntegerField(default=0)
    calls = models.PositiveIntegerField(default=0)

    objects = SweepQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["feed", "slot"], name="signals_sweep_identity")]
        indexes = [
            # close_sweeps, every 5 s.
            models.Index(fields=["slot"], condition=models.Q(status="open"), name="signals_sweep_open"),
            # The relay's catch-up, every 5 s in each web process.
            models.Index(fields=["closed_at"], condition=models.Q(status="closed"), name="signals_sweep_closed"),
        ]

    def __str__(self) -> str:
        return f"{self.feed} {self.slot:%Y-%m-%d %H:%M:%S}"

    @property
    def tickers(self) -> int:
        """How many tickers the sweep covers."""
        return len(self.ticker_ids)


class TickerRun(models.Model):
    """The receipt of one ticker in one sweep: who inserts it has done the work. Partitioned by the slot's day."""

    class Status(models.TextChoices):
        OK = "ok"
        STALE = "stale", "stale candles"
        FAILED = "failed", "an algorithm failed"
        MISSING = "missing", "no worker answered"

    slot = models.DateTimeField()
    sweep = models.ForeignKey(Sweep, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    ticker = models.ForeignKey(Ticker, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")

    status = models.CharField(max_length=7, choices=Status)
    error = models.CharField(max_length=300, blank=True)
    results = models.PositiveSmallIntegerField(
        default=0, help_text="Verdicts it owed; another feed may have been first."
    )
    calls = models.PositiveSmallIntegerField(default=0)
    holes = models.PositiveSmallIntegerField(default=0, help_text="Older candles that will never get a verdict.")
    duration_ms = models.FloatField(default=0)
    finished_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["slot", "sweep", "ticker"], name="signals_tickerrun_identity")]

    def __str__(self) -> str:
        return f"sweep {self.sweep_id} ticker {self.ticker_id}: {self.status}"


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
        ]
        indexes = [
            # The feed of the newest calls.
            models.Index(fields=["-candle_closed_at"], name="signals_call_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.signal} configuration {self.configuration_id} ticker {self.ticker_id} {self.candle_closed_at}"
