from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import User
from signals.services.housekeeping import bootstrap
from signals.tests.conftest import NOON

# Rows that only make sense as part of another model's form, or that libraries keep for themselves.
WITHOUT_A_PAGE = {
    "admin.LogEntry",
    "auth.Permission",
    "contenttypes.ContentType",
    "sessions.Session",
    "axes.AccessAttemptExpiration",
    "django_celery_beat.PeriodicTasks",
    "django_celery_results.ChordCounter",
    "accounts.User_groups",
    "accounts.User_user_permissions",
}


@pytest.fixture
def oscar(client: Client, db: None, settings: Settings) -> Client:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # real hashing is slow on purpose
    bootstrap(now=NOON)
    client.force_login(
        User.objects.create_superuser("oscar", "oscar@example.org", "oscar's long password"),
        backend="accounts.backends.PasswordBackend",
    )
    return client


def models() -> list[type[Model]]:
    return [model for model in apps.get_models() if model._meta.label not in WITHOUT_A_PAGE]


@pytest.mark.parametrize("model", models(), ids=lambda model: model._meta.label)
def test_the_operator_sees_every_model(oscar: Client, model: type[Model]) -> None:
    assert admin.site.is_registered(model), f"{model._meta.label} has no admin"

    page = oscar.get(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"))

    assert page.status_code == 200


def test_the_operator_edits_periodic_schedules(oscar: Client) -> None:
    from django_celery_beat.models import PeriodicTask

    task = PeriodicTask.objects.get(name="central sweep")
    page = oscar.get(reverse("admin:django_celery_beat_periodictask_change", args=[task.pk]))
    form: dict[str, Any] = {name: value for name, value in page.context["adminform"].form.initial.items() if value}

    answer = oscar.post(
        reverse("admin:django_celery_beat_periodictask_change", args=[task.pk]),
        form | {"enabled": "", "task": task.task, "regtask": task.task, "args": "[]", "kwargs": "{}", "headers": "{}"},
    )

    assert answer.status_code == 302, answer.content[:3000]
    task.refresh_from_db()
    assert not task.enabled


@pytest.mark.parametrize("name", ["signals_signalresult", "signals_tickerrun", "market_candle"])
def test_large_tables_are_searched_by_ticker_and_day(oscar: Client, name: str) -> None:
    page = oscar.get(reverse(f"admin:{name}_changelist"), {"q": "BTCUSDT 2026-11-20"})

    assert page.status_code == 200


def test_strangers_are_sent_to_the_login(client: Client, db: None) -> None:
    answer = client.get("/admin/")

    assert answer.status_code == 302
    assert "/login/" in answer["Location"]
