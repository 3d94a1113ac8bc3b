"""The WebSocket of signals and notifications: /ws/notifications/."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar, cast

from channels.db import database_sync_to_async
from django.contrib.auth import get_user
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from accounts.models import User
from billing.entitlements import entitlements
from live.consumers import LiveConsumer
from live.messages import Pair, RefusedPair, ServerFrame
from market import clock
from signals.services import delivery
from signals.services.evaluation import to_ms

P = ParamSpec("P")
R = TypeVar("R")


class NotificationConsumer(LiveConsumer):
    """Signals of the pairs a user follows, the user's premium results, and what concerns the user alone."""

    async def most_sockets(self, user: AbstractBaseUser) -> int:
        allowed = await _in_thread(entitlements)(cast("User", user), now=datetime.now(UTC))
        return allowed.sockets

    async def groups_for(self, user: AbstractBaseUser) -> list[str]:
        return await _in_thread(delivery.groups_of)(user=cast("User", user), now=datetime.now(UTC))

    async def can_join(self, user: AbstractBaseUser, pairs: Sequence[Pair]) -> list[RefusedPair]:
        refuse = _in_thread(delivery.refused_pairs)
        return await refuse(user=cast("User", user), pairs=pairs, now=datetime.now(UTC))

    async def replay(self, user: AbstractBaseUser, since: int) -> list[ServerFrame] | None:
        find = _in_thread(delivery.replay)
        frames = await find(user=cast("User", user), since_ms=since, market_now=clock.now(), now=datetime.now(UTC))
        return cast("list[ServerFrame] | None", frames)

    async def rights_hold(self, user: AbstractBaseUser) -> bool:
        # The groups are read here: in the thread there is no event loop to tell whose they are.
        return await _in_thread(self._rights_hold)(cast("User", user), self.joined)

    def now_ms(self) -> int:
        return to_ms(clock.now())

    def _rights_hold(self, user: User, joined: Collection[str]) -> bool:
        """Whether the session still logs this user in, and the groups are still what the user may see."""
        key = self.scope["session"].session_key
        session = cast("SessionBase", self.scope["session"].__class__(key))
        if key is None or not session.exists(key):
            return False
        request = HttpRequest()
        request.session = session
        known = get_user(request)  # compares the password's hash too: changing the password ends every session
        return known.pk == user.pk and set(joined) <= set(delivery.groups_of(user=user, now=datetime.now(UTC)))


def _in_thread(function: Callable[P, R]) -> Callable[P, Awaitable[R]]:
    """In a thread of the pool: with the default, all sockets of the process would share one."""
    return database_sync_to_async(function, thread_sensitive=False)
