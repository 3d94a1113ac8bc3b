"""Who may stay on a socket: the real consumer behind the real middleware, against real sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client

from accounts.models import User
from billing.entitlements import entitlements
from billing.models import PlanGrant
from live.auth import SessionAuth
from live.messages import CLOSE_RIGHTS_ENDED, CLOSE_TOO_MANY, CLOSE_UNAUTHENTICATED
from market.models import Ticker
from signals.consumers import NotificationConsumer
from signals.models import Algorithm, AlgorithmPreferences
from signals.services import rights
from signals.services.following import follow_default
from signals.tests.conftest import NOON

pytestmark = pytest.mark.django_db(transaction=True)


class Consumer(NotificationConsumer):
    recheck_every = 0.05


class Browser:
    """One socket of the application, opened with a session's cookie."""

    def __init__(self, cookie: str) -> None:
        headers = [(b"cookie", f"{settings.SESSION_COOKIE_NAME}={cookie}".encode())]
        scope = {"type": "websocket", "path": "/ws/notifications/", "query_string": b"", "headers": headers}
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        application: Any = SessionAuth(Consumer.as_asgi())
        self._said.put_nowait({"type": "websocket.connect"})
        self._task = asyncio.create_task(application(scope, self._said.get, self._heard.put))

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next message of this kind; fails after ten seconds without one."""
        async with asyncio.timeout(10):
            while (message := await self._heard.get())["type"] != kind:
                assert message["type"] != "websocket.close", f"closed with {message.get('code')}"
        return message

    async def is_open_for(self, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return all(message["type"] != "websocket.close" for message in list(self._heard._queue))  # type: ignore[attr-defined]

    async def leave(self) -> None:
        self._said.put_nowait({"type": "websocket.disconnect", "code": 1001})
        await self._task


def log_in(user: User) -> str:
    client = Client()
    client.force_login(user, backend="accounts.backends.PasswordBackend")
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def log_out(user: User) -> None:
    Session.objects.all().delete()


def change_password(user: User) -> None:
    user.set_password("another long password")
    user.save()


def end_plan(user: User) -> None:
    PlanGrant.objects.filter(user=user).update(ends_at=datetime.now(UTC))


def disable(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def unfollow(user: User) -> None:
    AlgorithmPreferences.objects.for_user(user).first().delete()  # type: ignore[union-attr]


def delist(user: User) -> None:
    Ticker.objects.filter(symbol="BTCUSDT").update(status=Ticker.Status.DELISTED)


def stop_algorithm(user: User) -> None:
    Algorithm.objects.filter(pk="rsi").update(is_enabled=False)


def expire(user: User) -> None:
    Session.objects.update(expire_date=datetime.now(UTC))


async def test_a_socket_stays_open_as_long_as_the_rights_hold(tickers: list[Ticker], alice: User) -> None:
    await sync_to_async(follow_default)(user=alice, allowed=await sync_to_async(entitlements)(alice, now=NOON))
    browser = Browser(await sync_to_async(log_in)(alice))
    await browser.hear("websocket.send")

    assert await browser.is_open_for(0.6)

    await browser.leave()


@pytest.mark.parametrize("end", [log_out, expire, change_password, end_plan, disable, unfollow, delist, stop_algorithm])
async def test_a_socket_is_closed_when_the_rights_end(
    tickers: list[Ticker], alice: User, end: Callable[[User], None]
) -> None:
    await sync_to_async(follow_default)(user=alice, allowed=await sync_to_async(entitlements)(alice, now=NOON))
    browser = Browser(await sync_to_async(log_in)(alice))
    await browser.hear("websocket.send")
    assert await browser.is_open_for(0.3)  # found to hold some times before

    await sync_to_async(end)(alice)

    assert (await browser.hear("websocket.close"))["code"] == CLOSE_RIGHTS_ENDED
    await browser.leave()


async def test_a_socket_is_closed_when_the_rights_end_though_the_stamps_cannot_be_asked_for(
    tickers: list[Ticker], alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sync_to_async(follow_default)(user=alice, allowed=await sync_to_async(entitlements)(alice, now=NOON))
    monkeypatch.setattr(rights, "FIND_STAMPS", "SELECT no_such_column")
    browser = Browser(await sync_to_async(log_in)(alice))
    await browser.hear("websocket.send")
    assert await browser.is_open_for(0.5)

    await sync_to_async(log_out)(alice)

    assert (await browser.hear("websocket.close"))["code"] == CLOSE_RIGHTS_ENDED
    await browser.leave()


async def test_a_stranger_is_told_so(tickers: list[Ticker]) -> None:
    browser = Browser("no-such-session")

    assert (await browser.hear("websocket.close"))["code"] == CLOSE_UNAUTHENTICATED
    await browser.leave()


async def test_a_user_opens_no_more_sockets_than_the_plan_allows(tickers: list[Ticker], bob: User) -> None:
    cookie = await sync_to_async(log_in)(bob)
    allowed = [Browser(cookie) for _ in range(3)]
    for browser in allowed:
        await browser.hear("websocket.send")

    one_more = Browser(cookie)

    assert (await one_more.hear("websocket.close"))["code"] == CLOSE_TOO_MANY
    for browser in [*allowed, one_more]:
        await browser.leave()
