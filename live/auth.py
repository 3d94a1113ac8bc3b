"""Whose socket it is: the session of the handshake's cookie, looked up once."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any, Final, cast

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, parse_cookie

# As Django makes them. Anything else is no key, and need not be asked for.
_KEY: Final = re.compile(r"[a-z0-9]{32}")


class SessionAuth:
    """ASGI middleware that puts `session` and `user` into the scope of a WebSocket.

    In the place of Channels' AuthMiddlewareStack, which asks through the one thread that all sockets share, and stays in
    the way of every later frame to see whether the session must be saved. A socket saves none.
    """

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        session = new_session(_session_key(scope["headers"]))
        user = await database_sync_to_async(user_of, thread_sensitive=False)(session)
        await self._application({**scope, "session": session, "user": user}, receive, send)


def new_session(key: str | None) -> SessionBase:
    """The session of this key, read when it is first asked for something."""
    engine = import_module(settings.SESSION_ENGINE)
    return cast("SessionBase", engine.SessionStore(key))


def user_of(session: SessionBase) -> AbstractBaseUser | AnonymousUser:
    """Whom the session logs in, now. Two queries; a changed password ends every session."""
    request = HttpRequest()
    request.session = session
    return get_user(request)


def _session_key(headers: list[tuple[bytes, bytes]]) -> str | None:
    # As Django reads them for pages: one odd cookie, of whoever else has set it, spoils none of the others.
    cookies = "; ".join(value.decode("latin-1") for name, value in headers if name == b"cookie")
    key = parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME, "")
    return key if _KEY.fullmatch(key) else None
