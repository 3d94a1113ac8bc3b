from __future__ import annotations

from collections.abc import Collection

from django.conf import settings
from django.db import models

from accounts.models import User
from engine.evaluate import Signal as EngineSignal
from market.models import Ticker, Timeframe


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

    def for_users(self, user_ids: Collection[int]) -> AlgorithmPreferencesQuerySet:
        return self.filter(user__in=user_ids)

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
