from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User


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
