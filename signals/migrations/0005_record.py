from __future__ import annotations

import datetime

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models

# As for calls: what became of one is as unchangeable as the call, and so is the ledger.
FOR_EVER = """
CREATE FUNCTION signals_row_is_for_ever() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'this is for ever: % on % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER signals_outcome_is_for_ever BEFORE UPDATE OR DELETE ON signals_outcome
    FOR EACH ROW EXECUTE FUNCTION signals_row_is_for_ever();
CREATE TRIGGER signals_ledgerentry_is_for_ever BEFORE UPDATE OR DELETE ON signals_ledgerentry
    FOR EACH ROW EXECUTE FUNCTION signals_row_is_for_ever();
"""
MORTAL = """
DROP TRIGGER signals_ledgerentry_is_for_ever ON signals_ledgerentry;
DROP TRIGGER signals_outcome_is_for_ever ON signals_outcome;
DROP FUNCTION signals_row_is_for_ever;
"""

# Not of the rows that are there: they were published by our own clock, which may have been a little behind.
IN_ORDER = """
ALTER TABLE signals_call ADD CONSTRAINT signals_call_is_in_order CHECK (
    candle_closed_at <= slot AND slot <= published_at AND published_at < candle_closed_at + interval '3 days'
) NOT VALID
"""

# What the central feed has run so far, as far as its sweeps are kept.
SPANS_SO_FAR = """
INSERT INTO signals_centralspan (configuration_id, since, until)
SELECT configuration_id, min(slot),
       (SELECT min(later.slot) FROM signals_sweep AS later WHERE later.feed = 'central' AND later.status <> 'missed'
        AND later.slot > max(ran.slot))
FROM (SELECT slot, unnest(configuration_ids) AS configuration_id FROM signals_sweep WHERE feed = 'central') AS ran
GROUP BY configuration_id
"""


class Migration(migrations.Migration):
    dependencies = [
        ("market", "0002_candle"),
        ("signals", "0004_signalresult_indexes"),
    ]

    operations = [
        migrations.RunSQL("SET LOCAL lock_timeout = '5s'", migrations.RunSQL.noop),
        migrations.CreateModel(
            name="LedgerEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField(help_text="UTC; of a call's publication.", unique=True)),
                ("calls", models.PositiveIntegerField()),
                ("first_call", models.BigIntegerField(null=True)),
                ("last_call", models.BigIntegerField(null=True)),
                ("previous_digest", models.CharField(max_length=64)),
                (
                    "digest",
                    models.CharField(help_text="SHA-256 over the previous digest and the day's calls.", max_length=64),
                ),
                ("made_at", models.DateTimeField()),
            ],
            options={
                "verbose_name_plural": "ledger entries",
            },
        ),
        migrations.CreateModel(
            name="Record",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("horizon", models.PositiveSmallIntegerField(choices=[(60, "1 h"), (240, "4 h"), (1440, "24 h")])),
                ("side", models.CharField(max_length=4)),
                ("grouping", models.CharField(max_length=13)),
                ("document", models.JSONField()),
                ("built_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("horizon", "side", "grouping"), name="signals_record_identity")
                ],
            },
        ),
        migrations.CreateModel(
            name="CentralSpan",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("since", models.DateTimeField(help_text="The first slot that ran it.")),
                ("until", models.DateTimeField(help_text="The first slot that did not run it any more.", null=True)),
                (
                    "configuration",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="central_spans",
                        to="signals.configuration",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("until", None)),
                        fields=("configuration",),
                        name="signals_centralspan_one_is_open",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("until", None), ("until__gt", models.F("since")), _connector="OR"),
                        name="signals_centralspan_ends",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Outcome",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "horizon",
                    models.PositiveSmallIntegerField(
                        choices=[(60, "1 h"), (240, "4 h"), (1440, "24 h")], help_text="Minutes from entry to exit."
                    ),
                ),
                (
                    "status",
                    models.CharField(choices=[("scored", "Scored"), ("unscorable", "Unscorable")], max_length=10),
                ),
                ("reason", models.CharField(blank=True, help_text="Why it is unscorable.", max_length=80)),
                ("entry_at", models.DateTimeField(help_text="When the entry candle opened, or would have.")),
                ("exit_at", models.DateTimeField(help_text="When the exit candle closed, or would have.")),
                ("entry_price", models.FloatField(null=True)),
                ("exit_price", models.FloatField(null=True)),
                ("fee_rate", models.FloatField(help_text="Of each side, as a fraction.")),
                ("net_return", models.FloatField(help_text="A SELL's is the move it avoided.", null=True)),
                ("hold_return", models.FloatField(help_text="Buy and hold from entry to exit, same fees.", null=True)),
                ("scored_at", models.DateTimeField()),
                (
                    "call",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="outcomes",
                        to="signals.call",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("call", "horizon"), name="signals_outcome_identity"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("entry_price__gt", 0),
                                ("exit_price__gt", 0),
                                ("hold_return__isnull", False),
                                ("net_return__isnull", False),
                                ("status", "scored"),
                            ),
                            models.Q(
                                ("hold_return", None),
                                ("net_return", None),
                                ("status", "unscorable"),
                                models.Q(("reason", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="signals_outcome_has_a_return_or_a_reason",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RecordCell",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("month", models.DateField(help_text="Its first day; of the candle that was called, in UTC.")),
                ("horizon", models.PositiveSmallIntegerField(choices=[(60, "1 h"), (240, "4 h"), (1440, "24 h")])),
                (
                    "signal",
                    models.CharField(
                        choices=[("BUY", "BUY"), ("SELL", "SELL"), ("DO NOTHING", "DO NOTHING")], max_length=10
                    ),
                ),
                ("scored", models.PositiveIntegerField()),
                ("unscorable", models.PositiveIntegerField()),
                ("pending", models.PositiveIntegerField()),
                ("hits", models.PositiveIntegerField()),
                ("apart", models.PositiveIntegerField()),
                ("apart_hits", models.PositiveIntegerField()),
                ("net_sum", models.FloatField()),
                ("net_squares", models.FloatField()),
                ("log_sum", models.FloatField()),
                ("hold_sum", models.FloatField()),
                ("worst", models.FloatField(null=True)),
                ("best", models.FloatField(null=True)),
                (
                    "bins",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.SmallIntegerField(), help_text="Basis points of net return.", size=None
                    ),
                ),
                (
                    "counts",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.PositiveIntegerField(), help_text="How many fall into each bin.", size=None
                    ),
                ),
                (
                    "apart_until",
                    models.DateTimeField(help_text="When the last span ended that overlaps no other.", null=True),
                ),
                (
                    "configuration",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="signals.configuration",
                    ),
                ),
                (
                    "ticker",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="market.ticker",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("configuration", "ticker", "month", "horizon", "signal"),
                        name="signals_recordcell_identity",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="RecordDay",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField(help_text="Of the candle that was called, in UTC.")),
                ("horizon", models.PositiveSmallIntegerField(choices=[(60, "1 h"), (240, "4 h"), (1440, "24 h")])),
                (
                    "signal",
                    models.CharField(
                        choices=[("BUY", "BUY"), ("SELL", "SELL"), ("DO NOTHING", "DO NOTHING")], max_length=10
                    ),
                ),
                ("scored", models.PositiveIntegerField()),
                ("net_sum", models.FloatField()),
                ("hold_sum", models.FloatField()),
                (
                    "configuration",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="signals.configuration",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("configuration", "day", "horizon", "signal"), name="signals_recordday_identity"
                    )
                ],
            },
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(IN_ORDER, "ALTER TABLE signals_call DROP CONSTRAINT signals_call_is_in_order")
            ],
            state_operations=[
                migrations.AddConstraint(
                    model_name="call",
                    constraint=models.CheckConstraint(
                        condition=models.Q(
                            ("candle_closed_at__lte", models.F("slot")),
                            (
                                "published_at__lt",
                                django.db.models.expressions.CombinedExpression(
                                    models.F("candle_closed_at"), "+", models.Value(datetime.timedelta(days=3))
                                ),
                            ),
                            ("slot__lte", models.F("published_at")),
                        ),
                        name="signals_call_is_in_order",
                    ),
                ),
            ],
        ),
        migrations.RunSQL(FOR_EVER, reverse_sql=MORTAL),
        migrations.RunSQL(SPANS_SO_FAR, reverse_sql=migrations.RunSQL.noop),
    ]
