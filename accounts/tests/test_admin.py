from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.test import Client

from accounts.models import Notification, User
from accounts.services import notify


@pytest.fixture
def operator(client: Client, oscar: User) -> Client:
    client.force_login(oscar)
    return client


def test_the_operator_finds_users(operator: Client, bob: User) -> None:
    page = operator.get("/admin/accounts/user/", {"q": "bob"}).content.decode()

    assert "bob@example.org" in page


def test_nobody_becomes_a_demo_person_by_hand(operator: Client, bob: User) -> None:
    page = operator.get(f"/admin/accounts/user/{bob.pk}/change/").content.decode()

    assert 'name="is_demo"' not in page


def test_notifications_are_read_and_never_written_by_hand(operator: Client, bob: User) -> None:
    stored, _ = notify(user=bob, level=Notification.Level.INFO, title="Hello", now=datetime.now(UTC))

    assert "Hello" in operator.get("/admin/accounts/notification/").content.decode()
    assert operator.get("/admin/accounts/notification/add/").status_code == 403
    address = f"/admin/accounts/notification/{stored.pk}/change/"
    assert operator.post(address, {"title": "Something else"}).status_code == 403
    stored.refresh_from_db()
    assert stored.title == "Hello"


def test_the_admin_is_closed_to_others(client: Client, bob: User) -> None:
    client.force_login(bob)

    assert client.get("/admin/accounts/user/").status_code == 302
