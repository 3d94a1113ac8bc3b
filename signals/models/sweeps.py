from __future__ import annotations

from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.db import models

from market.models import Ticker

CENTRAL = "central"


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
            # The relay's catch-up, every second in each web process.
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
