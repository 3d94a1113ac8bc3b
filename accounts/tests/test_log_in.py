from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import User
from accounts.tests.conftest import PASSWORD

LOG_IN = "/accounts/login/"


def is_logged_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_the_addresses_have_their_names() -> None:
    assert (reverse("accounts:log-in"), reverse("accounts:log-out")) == (LOG_IN, "/accounts/logout/")


def test_a_right_password_leads_to_the_signals(client: Client, bob: User) -> None:
    response = client.post(LOG_IN, {"username": "bob", "password": PASSWORD})

    assert response.status_code == 302
    assert response["Location"] == "/"
    assert is_logged_in(client)


@pytest.mark.parametrize(("username", "password"), [("bob", "wrong"), ("nobody", PASSWORD), ("bob", "")])
def test_a_wrong_pair_is_refused_without_saying_which_half(
    client: Client, bob: User, username: str, password: str
) -> None:
    response = client.post(LOG_IN, {"username": username, "password": password})

    assert response.status_code == 200
    assert not is_logged_in(client)
    if password:
        assert "This name and password do not go together" in response.content.decode()


def test_a_person_who_was_switched_off_is_told_no_more_than_a_stranger(client: Client, bob: User) -> None:
    bob.is_active = False
    bob.save()

    response = client.post(LOG_IN, {"username": "bob", "password": PASSWORD})

    assert not is_logged_in(client)
    assert "This name and password do not go together" in response.content.decode()


def test_the_form_helps_password_managers(client: Client, db: None) -> None:
    page = client.get(LOG_IN).content.decode()

    assert 'autocomplete="username"' in page
    assert 'autocomplete="current-password"' in page


def test_after_ten_wrong_passwords_the_right_one_is_refused_too(client: Client, bob: User) -> None:
    for _ in range(settings.AXES_FAILURE_LIMIT):
        response = client.post(LOG_IN, {"username": "bob", "password": "wrong"})
    assert response.status_code == 429

    response = client.post(LOG_IN, {"username": "bob", "password": PASSWORD})

    assert response.status_code == 429
    assert "Too many tries" in response.content.decode()
    assert "15 minutes" in response.content.decode()
    assert not is_logged_in(client)


def test_a_lockout_closes_one_name_from_one_address_alone(client: Client, bob: User, oscar: User) -> None:
    for _ in range(settings.AXES_FAILURE_LIMIT):
        client.post(LOG_IN, {"username": "bob", "password": "wrong"})

    client.post(LOG_IN, {"username": "oscar", "password": PASSWORD})
    assert is_logged_in(client)

    elsewhere = Client(REMOTE_ADDR="203.0.113.9")
    elsewhere.post(LOG_IN, {"username": "bob", "password": PASSWORD})
    assert is_logged_in(elsewhere)


def test_an_address_that_tries_many_names_is_closed(client: Client, bob: User, settings: Settings) -> None:
    settings.FAILED_LOG_INS_PER_ADDRESS = 5
    for number in range(5):
        client.post(LOG_IN, {"username": f"name{number}", "password": "Summer2026!"})

    response = client.post(LOG_IN, {"username": "bob", "password": PASSWORD})

    assert response.status_code == 429
    assert not is_logged_in(client)


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "/\\evil.example"]
)
def test_next_leads_nowhere_outside(client: Client, bob: User, target: str) -> None:
    response = client.post(LOG_IN, {"username": "bob", "password": PASSWORD, "next": target})

    assert response["Location"] == "/"


def test_next_leads_to_a_page_of_ours(client: Client, bob: User) -> None:
    response = client.post(LOG_IN, {"username": "bob", "password": PASSWORD, "next": "/following/"})

    assert response["Location"] == "/following/"


def test_logging_in_takes_a_csrf_token(browser: Client, bob: User) -> None:
    assert browser.post(LOG_IN, {"username": "bob", "password": PASSWORD}).status_code == 403


def test_logging_in_makes_a_new_session(client: Client, bob: User) -> None:
    session = client.session
    session["planted"] = True
    session.save()
    planted = client.cookies["sessionid"].value

    client.post(LOG_IN, {"username": "bob", "password": PASSWORD})

    assert client.cookies["sessionid"].value != planted


def test_the_session_cookie_is_out_of_reach_of_scripts_and_foreign_pages(client: Client, bob: User) -> None:
    client.post(LOG_IN, {"username": "bob", "password": PASSWORD})
    cookie = client.cookies["sessionid"]

    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["max-age"] == 14 * 24 * 3600


def test_behind_tls_cookies_never_travel_in_the_clear() -> None:
    program = "from boritrader import settings as s; print(s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE)"
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"HTTPS": "1"},
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert answer.stdout.strip() == "True True"


def test_logging_out_takes_a_post(client: Client, bob: User) -> None:
    client.force_login(bob)

    assert client.get("/accounts/logout/").status_code == 405
    assert is_logged_in(client)

    response = client.post("/accounts/logout/")
    assert response["Location"] == LOG_IN
    assert not is_logged_in(client)


def test_somebody_who_is_logged_in_needs_no_log_in_page(client: Client, bob: User) -> None:
    client.force_login(bob)

    assert client.get(LOG_IN)["Location"] == "/"
