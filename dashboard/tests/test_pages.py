from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import User

PAGES = ["/", "/following/"]


def test_the_addresses_have_their_names() -> None:
    assert reverse("dashboard:show-signals") == "/"
    assert reverse("dashboard:edit-following") == "/following/"


@pytest.mark.parametrize("address", PAGES)
def test_strangers_are_sent_to_the_log_in_page_and_back(client: Client, db: None, address: str) -> None:
    response = client.get(address)

    assert response.status_code == 302
    assert response["Location"] == f"/accounts/login/?next={address}"


@pytest.mark.parametrize("address", [*PAGES, "/accounts/login/"])
def test_every_page_says_that_the_market_is_simulated(
    client: Client, bob: User, settings: Settings, address: str
) -> None:
    if address != "/accounts/login/":
        client.force_login(bob)
    assert "Simulated market" in client.get(address).content.decode()

    settings.IS_SIMULATED = False
    settings.EXCHANGE = "binance"
    page = client.get(address).content.decode()

    assert "Simulated market" not in page
    assert "Binance" in page


@pytest.mark.parametrize("address", [*PAGES, "/accounts/login/"])
def test_nothing_on_a_page_is_inline(client: Client, bob: User, address: str) -> None:
    """The policy forbids it; a page that tried would be broken."""
    if address != "/accounts/login/":
        client.force_login(bob)
    response = client.get(address)
    page = response.content.decode()

    assert "script-src 'self';" in response["Content-Security-Policy"] + ";"
    for script in re.findall(r"<script[^>]*>", page):
        assert " src=" in script or 'type="application/json"' in script
    assert not re.findall(r"<[^>]+\son\w+=", page)
    assert "<style" not in page
    assert not re.findall(r"<[^>]+\sstyle=", page)


@pytest.mark.parametrize("address", PAGES)
def test_what_is_ones_own_is_kept_by_no_cache(client: Client, bob: User, address: str) -> None:
    client.force_login(bob)

    assert "no-store" in client.get(address)["Cache-Control"]


def test_the_menu_shows_the_plan(client: Client, alice: User, bob: User) -> None:
    client.force_login(alice)
    assert "Premium plan" in client.get("/").content.decode()

    client.force_login(bob)
    assert "Free plan" in client.get("/").content.decode()


def test_only_staff_see_the_way_to_the_administration(client: Client, bob: User, oscar: User) -> None:
    client.force_login(bob)
    assert "/admin/" not in client.get("/").content.decode()

    client.force_login(oscar)
    assert 'href="/admin/"' in client.get("/").content.decode()


def test_the_administration_says_it_too(client: Client, oscar: User) -> None:
    client.force_login(oscar)

    assert "simulated market" in client.get("/admin/").content.decode()


def test_the_address_that_browsers_ask_for_leads_to_the_icon(client: Client, db: None) -> None:
    answer = client.get("/favicon.ico")

    assert (answer.status_code, answer["Location"]) == (302, "/static/dashboard/favicon.svg")
    assert "Cookie" not in answer.get("Vary", "")


def test_the_signals_page_takes_no_post(client: Client, bob: User) -> None:
    client.force_login(bob)

    assert client.post("/").status_code == 405


def test_a_name_cannot_break_out_of_the_page(client: Client, db: None) -> None:
    client.force_login(User.objects.create_user("<script>alert(1)</script>", "mallory@example.org", None))

    assert "<script>alert(1)" not in client.get("/").content.decode()


def test_the_version_is_that_of_the_project() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", settings.VERSION)
