from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="HeartbeatStatus",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("exchange", models.CharField(max_length=20, unique=True)),
                ("is_connected", models.BooleanField(default=False)),
                ("started_at", models.DateTimeField(null=True)),
                ("stopped_at", models.DateTimeField(null=True)),
                ("last_message_at", models.DateTimeField(null=True)),
                ("tickers", models.PositiveIntegerField(default=0)),
                ("reconnects", models.PositiveIntegerField(default=0)),
                ("backfilled_candles", models.PositiveBigIntegerField(default=0)),
                ("revised_candles", models.PositiveBigIntegerField(default=0)),
                ("malformed_frames", models.PositiveBigIntegerField(default=0)),
                ("clock_offset_ms", models.FloatField(default=0, help_text="The exchange's clock minus ours.")),
                (
                    "watermarks",
                    models.JSONField(
                        default=dict,
                        help_text="Timeframe -> every candle that closed up to this instant (ms since 1970) is in.",
                    ),
                ),
                ("updated_at", models.DateTimeField()),
            ],
            options={
                "verbose_name_plural": "heartbeat statuses",
            },
        ),
        migrations.CreateModel(
            name="Ticker",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("exchange", models.CharField(max_length=20)),
                ("symbol", models.CharField(max_length=60)),
                ("base_asset", models.CharField(max_length=40)),
                ("quote_asset", models.CharField(max_length=40)),
                (
                    "tick_size",
                    models.DecimalField(
                        decimal_places=18, help_text="Step of a price, in the quote asset.", max_digits=28
                    ),
                ),
                (
                    "step_size",
                    models.DecimalField(
                        decimal_places=18, help_text="Step of an amount, in the base asset.", max_digits=28
                    ),
                ),
                (
                    "min_notional",
                    models.DecimalField(decimal_places=18, help_text="Least worth of an order.", max_digits=28),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("trading", "Trading"), ("halted", "Halted"), ("delisted", "Delisted")],
                        default="trading",
                        max_length=8,
                    ),
                ),
                (
                    "is_followed",
                    models.BooleanField(
                        default=False, help_text="In the universe. Discovery sets it from the rules there."
                    ),
                ),
                ("quote_volume_24h", models.FloatField(default=0)),
                ("discovered_at", models.DateTimeField()),
                ("delisted_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("is_followed", True), ("status", "trading")),
                        fields=["symbol"],
                        name="market_ticker_active",
                    )
                ],
                "constraints": [models.UniqueConstraint(fields=("exchange", "symbol"), name="market_ticker_identity")],
            },
        ),
        migrations.CreateModel(
            name="Universe",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("exchange", models.CharField(max_length=20, unique=True)),
                (
                    "quote_assets",
                    models.CharField(
                        default="USDT",
                        help_text="Comma-separated, e.g. USDT,BTC. Empty: every quote asset.",
                        max_length=200,
                    ),
                ),
                (
                    "minimum_volume",
                    models.FloatField(
                        default=0, help_text="Least traded volume of the last 24 hours, in the quote asset."
                    ),
                ),
                (
                    "include",
                    models.TextField(
                        blank=True, help_text="Symbols followed whatever their volume, separated by blanks."
                    ),
                ),
                ("exclude", models.TextField(blank=True, help_text="Symbols never followed, separated by blanks.")),
                (
                    "maximum_tickers",
                    models.PositiveIntegerField(default=2000, help_text="At most this many, the most traded first."),
                ),
            ],
            options={
                "verbose_name_plural": "universes",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("minimum_volume__gte", 0)),
                        name="market_universe_minimum_volume_not_negative",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="CandleRevision",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
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
                ("open_time", models.DateTimeField()),
                ("seen_at", models.DateTimeField()),
                ("open", models.FloatField()),
                ("high", models.FloatField()),
                ("low", models.FloatField()),
                ("close", models.FloatField()),
                ("volume", models.FloatField()),
                (
                    "ticker",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="market.ticker",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("ticker", "timeframe", "open_time", "seen_at"), name="market_candlerevision_identity"
                    )
                ],
            },
        ),
    ]
