from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User


@pytest.fixture(autouse=True)
def _quick_passwords(settings: Settings) -> None:
    """Real hashing is slow on purpose; what is tested here is not the hash."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def bob(db: None) -> User:
    return User.objects.create_user("bob", "bob@example.org", "a long and quiet password")


@pytest.fixture
def oscar(db: None) -> User:
    return User.objects.create_superuser("oscar", "oscar@example.org", "a long and quiet password")


@pytest.fixture
def operator(client: Client, oscar: User) -> Client:
    client.force_login(oscar)
    return client
