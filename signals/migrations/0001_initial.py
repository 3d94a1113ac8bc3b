from __future__ import annotations

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("market", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Algorithm",
            fields=[
                ("id", models.SlugField(max_length=40, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=80)),
                ("description", models.TextField()),
                ("is_enabled", models.BooleanField(default=True, help_text="Part of the central feed.")),
                (
                    "timeframe",
                    models.CharField(
                        choices=[
                            ("1m", "1m"),
                            ("2m", "2m"),
                            ("3m", "3m"),
                            ("5m", "5m"),
                            ("15m", "15m"),
                            ("1h", "1h"),
                            ("4h", "4h"),
                        ],
                        default="2m",
                        max_length=3,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Configuration",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("digest", models.CharField(editable=False, max_length=64, unique=True)),
                ("version", models.PositiveIntegerField()),
                (
                    "timeframe",
                    models.CharField(
                        choices=[
                            ("1m", "1m"),
                            ("2m", "2m"),
                            ("3m", "3m"),
                            ("5m", "5m"),
                            ("15m", "15m"),
                            ("1h", "1h"),
                            ("4h", "4h"),
                        ],
                        max_length=3,
                    ),
                ),
                ("parameters", models.JSONField(default=dict)),
                ("created_at", models.DateTimeField()),
                (
                    "algorithm",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="configurations",
                        to="signals.algorithm",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Sweep",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("feed", models.CharField(max_length=60)),
                ("slot", models.DateTimeField(help_text="The instant the sweep stands for, on the exchange's clock.")),
                (
                    "status",
                    models.CharField(
                        choices=[("open", "Open"), ("closed", "Closed"), ("missed", "Missed")],
                        default="open",
                        max_length=6,
                    ),
                ),
                (
                    "note",
                    models.CharField(blank=True, help_text="Why it was missed, or what was late.", max_length=300),
                ),
                ("ticker_ids", django.contrib.postgres.fields.ArrayField(models.BigIntegerField(), default=list)),
                (
                    "configuration_ids",
                    django.contrib.postgres.fields.ArrayField(models.BigIntegerField(), default=list),
                ),
                ("started_at", models.DateTimeField(help_text="Own clock.")),
                ("resent_at", models.DateTimeField(null=True)),
                ("closed_at", models.DateTimeField(null=True)),
                ("duration_ms", models.PositiveIntegerField(help_text="From start to the last receipt.", null=True)),
                ("ok", models.PositiveIntegerField(default=0)),
                ("stale", models.PositiveIntegerField(default=0)),
                ("failed", models.PositiveIntegerField(default=0)),
                ("missing", models.PositiveIntegerField(default=0)),
                ("results", models.PositiveIntegerField(default=0)),
                ("calls", models.PositiveIntegerField(default=0)),
            ],
            options={
                "indexes": [
                    models.Index(condition=models.Q(("status", "open")), fields=["slot"], name="signals_sweep_open"),
                    models.Index(
                        condition=models.Q(("status", "closed")), fields=["closed_at"], name="signals_sweep_closed"
                    ),
                ],
                "constraints": [models.UniqueConstraint(fields=("feed", "slot"), name="signals_sweep_identity")],
            },
        ),
        migrations.CreateModel(
            name="Call",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("candle_closed_at", models.DateTimeField()),
                ("slot", models.DateTimeField()),
                (
                    "signal",
                    models.CharField(
                        choices=[("BUY", "BUY"), ("SELL", "SELL"), ("DO NOTHING", "DO NOTHING")], max_length=10
                    ),
                ),
                (
                    "previous_signal",
                    models.CharField(
                        choices=[("BUY", "BUY"), ("SELL", "SELL"), ("DO NOTHING", "DO NOTHING")], max_length=10
                    ),
                ),
                ("value", models.FloatField(null=True)),
                ("price", models.FloatField()),
                ("candles_digest", models.BinaryField(max_length=16)),
                ("algorithm_version", models.PositiveIntegerField()),
                ("published_at", models.DateTimeField()),
                (
                    "ticker",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="calls", to="market.ticker"
                    ),
                ),
                (
                    "configuration",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="calls", to="signals.configuration"
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["-candle_closed_at"], name="signals_call_newest")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("configuration", "ticker", "candle_closed_at"), name="signals_call_identity"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("signal__in", ["BUY", "SELL"]),
                            models.Q(("signal", models.F("previous_signal")), _negated=True),
                        ),
                        name="signals_call_is_a_turn",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AlgorithmPreferences",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("all_tickers", models.BooleanField(default=False)),
                (
                    "execution_frequency",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "with the central feed"),
                            ("*/1 * * * *", "every minute"),
                            ("*/2 * * * *", "every 2 minutes"),
                            ("*/5 * * * *", "every 5 minutes"),
                            ("*/15 * * * *", "every 15 minutes"),
                            ("0 * * * *", "every hour"),
                            ("0 */4 * * *", "every 4 hours"),
                        ],
                        default="",
                        max_length=20,
                    ),
                ),
                ("is_enabled", models.BooleanField(default=True)),
                ("tickers", models.ManyToManyField(blank=True, related_name="+", to="market.ticker")),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="algorithm_preferences",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "configuration",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="preferences",
                        to="signals.configuration",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "algorithm preferences",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("user", "configuration"), name="signals_algorithmpreferences_identity"
                    )
                ],
            },
        ),
    ]
