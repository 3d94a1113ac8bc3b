"""What became of calls: outcomes and the ledger, for ever; and the record made of them, which can be made anew."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models

from engine.stats import Tally
from market.models import Ticker
from signals.models.algorithms import Configuration, Signal
from signals.models.results import Call


class Horizon(models.IntegerChoices):
    """How long after its entry a call is scored, in minutes."""

    H1 = 60, "1 h"
    H4 = 240, "4 h"
    H24 = 1440, "24 h"


class CentralSpan(models.Model):
    """From which slot to which the central feed ran a configuration: what the public record is about.

    A configuration that the operator has taken out of the feed keeps its record: losers stay in sight.
    """

    configuration = models.ForeignKey(Configuration, models.PROTECT, related_name="central_spans")
    since = models.DateTimeField(help_text="The first slot that ran it.")
    until = models.DateTimeField(null=True, help_text="The first slot that did not run it any more.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["configuration"], condition=models.Q(until=None), name="signals_centralspan_one_is_open"
            ),
            models.CheckConstraint(
                condition=models.Q(until=None) | models.Q(until__gt=models.F("since")), name="signals_centralspan_ends"
            ),
        ]

    def __str__(self) -> str:
        return f"configuration {self.configuration_id} {self.since:%Y-%m-%d %H:%M} to {self.until or 'now'}"


class Outcome(models.Model):
    """What became of a call at one horizon. For ever, as the call: a trigger refuses UPDATE and DELETE.

    Entry is the open of the first 1m candle that opens after the call was published, exit the close of the 1m candle at
    the horizon; returns are fractions after `fee_rate` on both sides, see engine.stats. Where one of the two candles
    never came, the call is unscorable: counted, and never left out in silence.
    """

    class Status(models.TextChoices):
        SCORED = "scored"
        UNSCORABLE = "unscorable"

    call = models.ForeignKey(Call, models.PROTECT, db_index=False, related_name="outcomes")
    horizon = models.PositiveSmallIntegerField(choices=Horizon, help_text="Minutes from entry to exit.")

    status = models.CharField(max_length=10, choices=Status)
    reason = models.CharField(max_length=80, blank=True, help_text="Why it is unscorable.")
    entry_at = models.DateTimeField(help_text="When the entry candle opened, or would have.")
    exit_at = models.DateTimeField(help_text="When the exit candle closed, or would have.")
    entry_price = models.FloatField(null=True)
    exit_price = models.FloatField(null=True)
    fee_rate = models.FloatField(help_text="Of each side, as a fraction.")
    net_return = models.FloatField(null=True, help_text="A SELL's is the move it avoided.")
    hold_return = models.FloatField(null=True, help_text="Buy and hold from entry to exit, same fees.")
    scored_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["call", "horizon"], name="signals_outcome_identity"),
            models.CheckConstraint(
                condition=models.Q(
                    status="scored",
                    entry_price__gt=0,
                    exit_price__gt=0,
                    net_return__isnull=False,
                    hold_return__isnull=False,
                )
                | (models.Q(status="unscorable", net_return=None, hold_return=None) & ~models.Q(reason="")),
                name="signals_outcome_has_a_return_or_a_reason",
            ),
        ]

    def __str__(self) -> str:
        return f"call {self.call_id} after {self.horizon} min: {self.status}"


class LedgerEntry(models.Model):
    """One day's link of the hash chain over the public calls. For ever: a trigger refuses UPDATE and DELETE."""

    day = models.DateField(unique=True, help_text="UTC; of a call's publication.")
    calls = models.PositiveIntegerField()
    # Where they lie: for whoever asks for the text. What is verified is looked for by time.
    first_call = models.BigIntegerField(null=True)
    last_call = models.BigIntegerField(null=True)
    previous_digest = models.CharField(max_length=64)
    digest = models.CharField(max_length=64, help_text="SHA-256 over the previous digest and the day's calls.")
    made_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "ledger entries"

    def __str__(self) -> str:
        return f"{self.day} {self.digest[:12]}"


class RecordCell(models.Model):
    """The tally of one configuration's calls on one ticker in one month: made from the outcomes, and made anew at will."""

    configuration = models.ForeignKey(Configuration, models.CASCADE, db_index=False, related_name="+")
    ticker = models.ForeignKey(Ticker, models.CASCADE, db_index=False, related_name="+")
    month = models.DateField(help_text="Its first day; of the candle that was called, in UTC.")
    horizon = models.PositiveSmallIntegerField(choices=Horizon)
    signal = models.CharField(max_length=10, choices=Signal)

    scored = models.PositiveIntegerField()
    unscorable = models.PositiveIntegerField()
    pending = models.PositiveIntegerField()
    hits = models.PositiveIntegerField()
    apart = models.PositiveIntegerField()
    apart_hits = models.PositiveIntegerField()
    net_sum = models.FloatField()
    net_squares = models.FloatField()
    log_sum = models.FloatField()
    hold_sum = models.FloatField()
    worst = models.FloatField(null=True)
    best = models.FloatField(null=True)
    bins = ArrayField(models.SmallIntegerField(), help_text="Basis points of net return.")
    counts = ArrayField(models.PositiveIntegerField(), help_text="How many fall into each bin.")
    apart_until = models.DateTimeField(null=True, help_text="When the last span ended that overlaps no other.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["configuration", "ticker", "month", "horizon", "signal"], name="signals_recordcell_identity"
            )
        ]

    def __str__(self) -> str:
        return f"configuration {self.configuration_id} ticker {self.ticker_id} {self.month:%Y-%m} {self.signal}"

    @property
    def tally(self) -> Tally:
        """The same numbers as the engine adds them up."""
        return Tally(
            scored=self.scored,
            unscorable=self.unscorable,
            pending=self.pending,
            hits=self.hits,
            apart=self.apart,
            apart_hits=self.apart_hits,
            net_sum=self.net_sum,
            net_squares=self.net_squares,
            log_sum=self.log_sum,
            hold_sum=self.hold_sum,
            worst=self.worst,
            best=self.best,
            bins=dict(zip(self.bins, self.counts, strict=True)),
        )


class RecordDay(models.Model):
    """What the calls of one day sum up to, of one configuration: the steps of the cumulative line."""

    configuration = models.ForeignKey(Configuration, models.CASCADE, db_index=False, related_name="+")
    day = models.DateField(help_text="Of the candle that was called, in UTC.")
    horizon = models.PositiveSmallIntegerField(choices=Horizon)
    signal = models.CharField(max_length=10, choices=Signal)

    scored = models.PositiveIntegerField()
    net_sum = models.FloatField()
    hold_sum = models.FloatField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["configuration", "day", "horizon", "signal"], name="signals_recordday_identity"
            )
        ]

    def __str__(self) -> str:
        return f"configuration {self.configuration_id} {self.day} {self.signal}"


class Record(models.Model):
    """A page of the public record, ready to be shown: signals.services.record.RecordJson. Made anew at will."""

    horizon = models.PositiveSmallIntegerField(choices=Horizon)
    side = models.CharField(max_length=4)
    grouping = models.CharField(max_length=13)
    document: models.JSONField[Any, Any] = models.JSONField()
    built_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["horizon", "side", "grouping"], name="signals_record_identity")]

    def __str__(self) -> str:
        return f"{self.horizon} min, {self.side}, by {self.grouping}"
