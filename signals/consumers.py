"""The WebSocket of signals and notifications: /ws/notifications/."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, ParamSpec, TypeVar, cast

import django.db
from channels.db import database_sync_to_async
from django.contrib.auth.base_user import AbstractBaseUser

from accounts.models import User
from billing.entitlements import entitlements_of_each
from live.auth import new_session, user_of
from live.consumers import LiveConsumer
from live.lifespan import urgent_threads
from live.messages import Pair, RefusedPair
from live.together import Together
from market import clock
from signals.services import delivery
from signals.services.evaluation import to_ms
from signals.services.rights import SocketOwner, rights_stamps

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

# Seconds after which the rights are checked whole although their stamp is the same: should it ever leave something out.
STAMP_HOLDS_FOR = 900.0


class Entry(NamedTuple):
    """What a socket is let in with."""

    stamp: str | None  # of everything the rest follows from; None: not known
    sockets: int  # that the user may have open
    groups: Sequence[str]


class NotificationConsumer(LiveConsumer):
    """Signals of the pairs a user follows, the user's premium results, and what concerns the user alone."""

    # Of everything the rights were last found to follow from (None: not known), and until when that is believed.
    _stamp: str | None = None
    _stamp_ends_at = 0.0

    async def may_join(self, user: AbstractBaseUser) -> tuple[int, Sequence[str]]:
        entry = await _entries.ask(self._owner(user))
        assert entry is not None  # all are answered, or none
        self._stamp, self._stamp_ends_at = entry.stamp, time.monotonic() + STAMP_HOLDS_FOR
        return entry.sockets, entry.groups

    async def can_join(self, user: AbstractBaseUser, pairs: Sequence[Pair]) -> list[RefusedPair]:
        self._stamp = None  # what is joined now is checked whole once
        refuse = _in_thread(delivery.refused_pairs)
        return await refuse(user=cast("User", user), pairs=pairs, now=datetime.now(UTC))

    async def replay(self, user: AbstractBaseUser, since: int) -> list[str] | None:
        find = _in_thread(delivery.replay)
        return await find(user=cast("User", user), since_ms=since, market_now=clock.now(), now=datetime.now(UTC))

    async def rights_hold(self, user: AbstractBaseUser) -> bool:
        stamp = await _stamps.ask(self._owner(user))
        if stamp is not None and stamp == self._stamp and time.monotonic() < self._stamp_ends_at:
            return True
        # The groups are read here: in the thread there is no event loop to tell whose they are.
        holds = await _in_thread(self._rights_hold)(cast("User", user), self.joined)
        self._stamp, self._stamp_ends_at = stamp, time.monotonic() + STAMP_HOLDS_FOR
        return holds

    def now_ms(self) -> int:
        return to_ms(clock.now())

    def _owner(self, user: AbstractBaseUser) -> SocketOwner:
        return self.scope["session"].session_key or "", user.pk

    def _rights_hold(self, user: User, joined: Collection[str]) -> bool:
        """Whether the session still logs this user in, and the groups are still what the user may see."""
        known = user_of(new_session(self.scope["session"].session_key))
        return known.pk == user.pk and set(joined) <= set(delivery.groups_of(user=user, now=datetime.now(UTC)))


def _in_thread(function: Callable[P, R]) -> Callable[P, Awaitable[R]]:
    """In a thread of the pool: with the default, all sockets of the process would share one."""
    return database_sync_to_async(function, thread_sensitive=False)


async def _find_stamps(owners: Sequence[SocketOwner]) -> Mapping[SocketOwner, str]:
    try:
        find = database_sync_to_async(rights_stamps, thread_sensitive=False, executor=urgent_threads())
        return await find(owners=owners, now=datetime.now(UTC))
    except django.db.Error as error:
        # Without a stamp each is checked whole: should this one query fail for ever, nobody keeps rights for ever.
        logger.warning("the rights of %d sockets are checked one by one: %s", len(owners), type(error).__name__)
        return {}


async def _find_entries(owners: Sequence[SocketOwner]) -> Mapping[SocketOwner, Entry]:
    # Before the groups: what changes between the two is noticed at the next check.
    stamps = await _find_stamps(owners)
    return await _in_thread(_entries_of)(owners, stamps, now=datetime.now(UTC))


def _entries_of(
    owners: Sequence[SocketOwner], stamps: Mapping[SocketOwner, str], *, now: datetime
) -> dict[SocketOwner, Entry]:
    allowed = entitlements_of_each(user_ids={user_id for _, user_id in owners}, now=now)
    groups = delivery.groups_of_each(allowed=allowed)
    return {owner: Entry(stamps.get(owner), allowed[owner[1]].sockets, groups[owner[1]]) for owner in owners}


_stamps: Together[SocketOwner, str] = Together(_find_stamps)
_entries: Together[SocketOwner, Entry] = Together(_find_entries)
