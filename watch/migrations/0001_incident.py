from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Incident",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "part",
                    models.CharField(
                        choices=[
                            ("live", "the live store"),
                            ("broker", "the broker"),
                            ("sweep", "the sweeps"),
                            ("candles", "the market data"),
                            ("relay", "the relay of a web process"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "process",
                    models.CharField(
                        blank=True, help_text="Of which web process, where it is its own fault.", max_length=80
                    ),
                ),
                ("reason", models.CharField(max_length=300)),
                ("started_at", models.DateTimeField()),
                ("seen_at", models.DateTimeField(help_text="Last seen by a web process.")),
                ("ended_at", models.DateTimeField(null=True)),
                ("told_at", models.DateTimeField(help_text="When the operator was told by mail.", null=True)),
                ("end_told_at", models.DateTimeField(null=True)),
                (
                    "telling_until",
                    models.DateTimeField(help_text="Until then one process is at telling.", null=True),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["-started_at"], name="watch_incident_newest")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("ended_at", None)), fields=("part", "process"), name="watch_incident_open"
                    )
                ],
            },
        ),
    ]
