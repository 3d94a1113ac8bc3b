from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models


class IncidentQuerySet(models.QuerySet["Incident"]):
    def open(self) -> IncidentQuerySet:
        return self.filter(ended_at=None)

    def abandoned(self, since: datetime) -> IncidentQuerySet:
        """Open, but the web process whose own fault they are has said nothing since: it has ended."""
        return self.open().exclude(process="").filter(seen_at__lt=since)

    def untold(self, since: datetime) -> IncidentQuerySet:
        """Not older than `since`, and the operator does not know yet that they began, or that they are over."""
        is_told = models.Q(told_at__isnull=False) & (models.Q(ended_at=None) | models.Q(end_told_at__isnull=False))
        return self.filter(started_at__gte=since).exclude(is_told)


class Incident(models.Model):
    """A time during which a part of the product was not well. The operator is told once when it begins and once when it
    is over. Of the database itself there is none: while it is away nobody can write one.

    Written by every web process: the unique open row of a part, and the lease on telling, let one of them write the mail.
    """

    class Part(models.TextChoices):
        LIVE = "live", "the live store"
        BROKER = "broker", "the broker"
        SWEEP = "sweep", "the sweeps"
        CANDLES = "candles", "the market data"
        RELAY = "relay", "the relay of a web process"

    LEASE = timedelta(seconds=60)

    part = models.CharField(max_length=10, choices=Part)
    process = models.CharField(max_length=80, blank=True, help_text="Of which web process, where it is its own fault.")
    reason = models.CharField(max_length=300)

    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(help_text="Last seen by a web process.")
    ended_at = models.DateTimeField(null=True)

    told_at = models.DateTimeField(null=True, help_text="When the operator was told by mail.")
    end_told_at = models.DateTimeField(null=True)
    telling_until = models.DateTimeField(null=True, help_text="Until then one process is at telling.")

    objects = IncidentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["part", "process"], condition=models.Q(ended_at=None), name="watch_incident_open"
            )
        ]
        indexes = [
            # untold(), every 15 s in each web process; and the admin's list.
            models.Index(fields=["-started_at"], name="watch_incident_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.get_part_display()} since {self.started_at:%Y-%m-%d %H:%M:%S}"
