"""Whose socket it is: by the cookie of the handshake and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client

from live.auth import SessionAuth

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alice() -> Any:
    return get_user_model().objects.create_user("alice", password="a long password of hers")


def cookie_of(user: Any) -> str:
    client = Client()
    client.force_login(user, backend="accounts.backends.PasswordBackend")
    return client.cookies[settings.SESSION_COOKIE_NAME].value


async def user_in_scope(*headers: tuple[bytes, bytes]) -> Any:
    scopes: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    await SessionAuth(application)({"type": "websocket", "headers": list(headers)}, None, None)
    return scopes[0]["user"]


async def test_the_sessions_user_is_in_the_scope(alice: Any) -> None:
    cookie = f"theme=dark; {settings.SESSION_COOKIE_NAME}={await database_sync_to_async(cookie_of)(alice)}".encode()

    user = await user_in_scope((b"host", b"testserver"), (b"cookie", cookie))

    assert user.is_authenticated
    assert user.pk == alice.pk


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"cookie", b"")],
        [(b"cookie", b"sessionid=")],
        [(b"cookie", b"sessionid=no-such-session")],
        [(b"cookie", b"sessionid=\xff\xfe; =;;")],
        [(b"cookie", b"\x00" * 4096)],
    ],
)
async def test_who_shows_no_session_is_nobody(headers: list[tuple[bytes, bytes]]) -> None:
    assert not (await user_in_scope(*headers)).is_authenticated


async def test_an_old_session_is_worth_nothing_after_the_password_was_changed(alice: Any) -> None:
    cookie = f"{settings.SESSION_COOKIE_NAME}={await database_sync_to_async(cookie_of)(alice)}".encode()
    alice.set_password("another long password")
    await database_sync_to_async(alice.save)()

    assert not (await user_in_scope((b"cookie", cookie))).is_authenticated
