from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User

PASSWORD = "a long and quiet password"


@pytest.fixture(autouse=True)
def _quick_passwords(settings: Settings) -> None:
    """Real hashing is slow on purpose; what is tested here is not the hash."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def bob(db: None) -> User:
    return User.objects.create_user("bob", "bob@example.org", PASSWORD)


@pytest.fixture
def dora(db: None) -> User:
    """A demo person, as `make run` makes them."""
    return User.objects.create_user("dora", "dora@example.org", PASSWORD, is_demo=True)


@pytest.fixture
def oscar(db: None) -> User:
    return User.objects.create_superuser("oscar", "oscar@example.org", PASSWORD)


@pytest.fixture
def browser() -> Client:
    """A browser that sends CSRF tokens only where it was given them, as real ones do."""
    return Client(enforce_csrf_checks=True)
