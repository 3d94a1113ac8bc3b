"""Whom the web's role may be, and that no table is forgotten in it."""

from __future__ import annotations

from collections import Counter

import pytest
from django.apps import apps
from django.core.management.base import CommandError
from django.db import connection

from workers.management.commands.create_web_role import ADDED, SHOWN, WRITTEN, create


def test_every_model_is_named_once() -> None:
    named = Counter([one._meta.label for one in (*SHOWN, *ADDED)] + list(WRITTEN))

    tables = [one for one in apps.get_models(include_auto_created=True) if one._meta.managed and not one._meta.proxy]
    assert named == Counter(one._meta.label for one in tables)


@pytest.mark.django_db
def test_the_role_may_ask_which_migrations_are_applied_and_change_none() -> None:
    create("the-webs", "secret")

    with connection.cursor() as cursor:
        rights = {}
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            cursor.execute("SELECT has_table_privilege('the-webs', 'django_migrations', %s)", [right])
            (rights[right],) = cursor.fetchone()
    assert rights == {"SELECT": True, "INSERT": False, "UPDATE": False, "DELETE": False}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (["CREATE ROLE mighty SUPERUSER"], "mighty is a superuser"),
        (["CREATE ROLE mighty", "ALTER TABLE watch_incident OWNER TO mighty"], "mighty owns tables"),
        (
            ["CREATE ROLE owner", "ALTER TABLE watch_incident OWNER TO owner", "CREATE ROLE mighty IN ROLE owner"],
            "belongs to a role that does",
        ),
    ],
)
def test_a_role_whom_no_right_binds_is_refused(made: list[str], reason: str) -> None:
    with connection.cursor() as cursor:
        for statement in made:
            cursor.execute(statement)

    with pytest.raises(CommandError, match=reason):
        create("mighty", "secret")
