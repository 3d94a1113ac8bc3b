from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.backends import is_demo_mode
from accounts.models import User
from accounts.tests.conftest import PASSWORD

LOG_IN = "/accounts/login/"


@pytest.fixture
def demo(settings: Settings) -> Settings:
    settings.IS_DEMO = True
    settings.WEB_HOST = "127.0.0.1"
    return settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_demo_people_log_in_where_only_this_machine_listens(
    client: Client, dora: User, demo: Settings, host: str
) -> None:
    demo.WEB_HOST = host

    assert client.post(LOG_IN, {"username": "dora", "password": PASSWORD}).status_code == 302


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "203.0.113.7", "example.org", "localhost.evil.example", ""])  # fmt: skip
def test_demo_people_are_refused_where_others_could_reach_them(
    client: Client, dora: User, demo: Settings, host: str
) -> None:
    demo.WEB_HOST = host

    assert client.post(LOG_IN, {"username": "dora", "password": PASSWORD}).status_code == 200
    assert "_auth_user_id" not in client.session


def test_demo_people_are_refused_outside_demo_mode(client: Client, dora: User, demo: Settings) -> None:
    demo.IS_DEMO = False

    assert not is_demo_mode()
    assert client.post(LOG_IN, {"username": "dora", "password": PASSWORD}).status_code == 200
    assert "_auth_user_id" not in client.session


def test_a_demo_session_ends_with_demo_mode(client: Client, dora: User, demo: Settings) -> None:
    client.post(LOG_IN, {"username": "dora", "password": PASSWORD})
    assert client.get("/api/calls/").status_code == 200

    demo.IS_DEMO = False

    assert client.get("/api/calls/").status_code == 401


def test_other_people_do_not_care(client: Client, bob: User, demo: Settings) -> None:
    demo.IS_DEMO = False

    assert client.post(LOG_IN, {"username": "bob", "password": PASSWORD}).status_code == 302


def test_only_demo_mode_says_where_the_passwords_are(client: Client, db: None, demo: Settings) -> None:
    assert "make run" in client.get(LOG_IN).content.decode()

    demo.IS_DEMO = False

    assert "make run" not in client.get(LOG_IN).content.decode()
