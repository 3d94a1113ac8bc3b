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


async def scope_of(*headers: tuple[bytes, bytes]) -> Any:
    scopes: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    await SessionAuth(application)({"type": "websocket", "headers": list(headers)}, None, None)
    return scopes[0]


async def user_in_scope(*headers: tuple[bytes, bytes]) -> Any:
    return (await scope_of(*headers))["user"]


async def test_the_sessions_user_is_in_the_scope(alice: Any) -> None:
    cookie = f"theme=dark; {settings.SESSION_COOKIE_NAME}={await database_sync_to_async(cookie_of)(alice)}".encode()

    user = await user_in_scope((b"host", b"testserver"), (b"cookie", cookie))

    assert user.is_authenticated
    assert user.pk == alice.pk


@pytest.mark.parametrize("odd", ['prefs={"a":[1,2]}', "x=1; foo", "u=José", "k[0]=1"])
@pytest.mark.parametrize("where", ["{odd}; {session}", "{session}; {odd}"])
async def test_odd_cookies_beside_it_do_not_hide_the_session(alice: Any, odd: str, where: str) -> None:
    session = f"{settings.SESSION_COOKIE_NAME}={await database_sync_to_async(cookie_of)(alice)}"

    user = await user_in_scope((b"cookie", where.format(odd=odd, session=session).encode()))

    assert user.pk == alice.pk


async def test_a_session_is_found_in_any_of_several_cookie_headers(alice: Any) -> None:
    session = f"{settings.SESSION_COOKIE_NAME}={await database_sync_to_async(cookie_of)(alice)}".encode()

    assert (await user_in_scope((b"cookie", b"theme=dark"), (b"cookie", session))).pk == alice.pk


@pytest.mark.parametrize("key", ["no-such-session", "A" * 32, "a" * 31, "a" * 33, "a" * 8000, r'"%s\000"' % ("a" * 31)])
async def test_what_cannot_be_a_key_is_not_asked_for(key: str) -> None:
    scope = await scope_of((b"cookie", f"{settings.SESSION_COOKIE_NAME}={key}".encode()))

    assert scope["session"].session_key is None
    assert not scope["user"].is_authenticated


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"cookie", b"")],
        [(b"cookie", b"sessionid=")],
        [(b"cookie", b"sessionid=no-such-session")],
        [(b"cookie", b"sessionid=" + b"0" * 32)],
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
