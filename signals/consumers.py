"""The WebSocket of signals and notifications: /ws/notifications/."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar, cast

from channels.db import database_sync_to_async
from django.contrib.auth import get_user
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest

from accounts.models import User
from live.consumers import LiveConsumer
from live.messages import Pair, RefusedPair, ServerFrame
from market import clock
from signals.services import delivery, following
from signals.services.evaluation import from_ms, to_ms

P = ParamSpec("P")
R = TypeVar("R")


class NotificationConsumer(LiveConsumer):
    """Signals of the pairs a user follows, the user's premium results, and what concerns the user alone."""

    async def groups_for(self, user: AbstractBaseUser) -> list[str]:
        return await _in_thread(delivery.groups_of)(user=cast("User", user), now=datetime.now(UTC))

    async def can_join(self, user: AbstractBaseUser, pairs: Sequence[Pair]) -> list[RefusedPair]:
        now = datetime.now(UTC)
        return await _in_thread(following.refused_pairs)(
            user=cast("User", user), pairs=pairs, joined=self.joined, now=now
        )

    async def replay(self, user: AbstractBaseUser, since: int) -> list[ServerFrame] | None:
        find = _in_thread(delivery.replay)
        frames = await find(user=cast("User", user), since=from_ms(since), now=datetime.now(UTC))
        return cast("list[ServerFrame] | None", frames)

    async def rights_hold(self, user: AbstractBaseUser) -> bool:
        return await _in_thread(self._rights_hold)(cast("User", user))

    def now_ms(self) -> int:
        return to_ms(clock.now())

    def _rights_hold(self, user: User) -> bool:
        """Whether the session still logs this user in, and the groups still are what the plan allows."""
        session = self.scope["session"]
        if session.session_key is None or not session.exists(session.session_key):
            return False
        fresh = type(session)(session.session_key)
        request = HttpRequest()
        request.session = fresh
        known = get_user(request)  # compares the password hash too: changing the password ends every session
        return known.pk == user.pk and following.may_stay(user=known, joined=self.joined, now=datetime.now(UTC))


def _in_thread(function: Callable[P, R]) -> Callable[P, Awaitable[R]]:
    """In a thread of the pool: with the default, all sockets of the process would share one."""
    return database_sync_to_async(function, thread_sensitive=False)
