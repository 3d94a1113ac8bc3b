"""What all our sockets have in common: who is let in, what he is joined to, and when he is sent away."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import django.db
from channels.consumer import get_handler_name
from channels.generic.websocket import AsyncWebsocketConsumer

from live import client_messages
from live.client_messages import NotUnderstood, Pace, parse_since
from live.frames import message_of, text_of
from live.groups import group_name, user_group
from live.layer import LiveChannelLayer
from live.messages import (
    CLOSE_FAILED,
    CLOSE_POLICY,
    CLOSE_RIGHTS_ENDED,
    CLOSE_TOO_MANY,
    CLOSE_TRY_AGAIN,
    CLOSE_UNAUTHENTICATED,
    WIRE_VERSION,
    Pair,
    RefusedPair,
    ServerFrame,
    SubscribeMessage,
)
from live.socket import GIVE_UP_AFTER, Socket

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

logger = logging.getLogger(__name__)


class LiveConsumer(AsyncWebsocketConsumer, ABC):
    """One connection. An app's consumer says what belongs to the user; this class does everything else.

    The hooks are coroutines that ask the database by `database_sync_to_async(..., thread_sensitive=False)`. They may read
    `self.scope` (session, query string) and `self.joined`. A database that is away closes the socket with 1013.
    """

    recheck_every: ClassVar[float] = 60.0  # seconds between two questions whether the user's rights still hold
    unanswered_for: ClassVar[float] = 300.0  # seconds a socket may stay while nobody can say whether they do
    give_up_after: ClassVar[float] = GIVE_UP_AFTER  # seconds a reader may take for one frame

    @abstractmethod
    async def may_join(self, user: AbstractBaseUser) -> tuple[int, Sequence[str]]:
        """How many sockets the user may have open in one web process, and every group a socket is joined to from the start,
        the user's own included.
        """

    @abstractmethod
    async def can_join(self, user: AbstractBaseUser, pairs: Sequence[Pair]) -> list[RefusedPair]:
        """Those of the pairs he may not join, each with the reason; an empty list lets him join them all."""

    @abstractmethod
    async def replay(self, user: AbstractBaseUser, since: int) -> list[str] | None:
        """What the groups in `self.joined` got from the slot `since` (ms) on, oldest first; None: too much, reload.

        As the frames' JSON (`live.frames.text_of`), less than half their size: a reader may take it as slowly as he is
        let, and all of it is held meanwhile.
        """

    @abstractmethod
    async def rights_hold(self, user: AbstractBaseUser) -> bool:
        """Whether the session is still valid and the plan still allows what he is joined to."""

    def now_ms(self) -> int:
        """The instant given in `hello` and `pong`. An app that knows the market's clock gives that."""
        return int(time.time() * 1000)

    @property
    def joined(self) -> frozenset[str]:
        """The groups this socket is joined to."""
        return self._layer.groups_of(self.channel_name)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._socket = Socket(send, give_up_after=self.give_up_after)
        self._pace = Pace()
        self._rights: asyncio.Task[None] | None = None
        try:
            # The stock methods (accept, send, close) write through the socket too, so that nothing overtakes.
            await super().__call__(scope, receive, cast("Any", self._socket.send))
        finally:
            if self._rights is not None:
                self._rights.cancel()
            self._layer.detach(self.channel_name)
            self._socket.end()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Stock, less its hop to the one shared thread per message: the hooks close their own connections."""
        try:
            await getattr(self, get_handler_name(message))(message)
        except django.db.Error as error:
            logger.warning("a socket was closed because the database did not answer: %s", type(error).__name__)
            await self.close(CLOSE_TRY_AGAIN)

    async def connect(self) -> None:
        """Lets in whoever is logged in: joins first and looks back then, so that nothing falls between the two."""
        # Accepted even if it is closed at once: a browser is told no code of a handshake that was refused.
        await self.accept()
        user = cast("AbstractBaseUser | None", self.scope.get("user"))
        if user is None or not user.is_authenticated:
            await self.close(CLOSE_UNAUTHENTICATED)
            return
        most, groups = await self.may_join(user)
        if self._layer.count(user_group(user.pk)) >= most:
            await self.close(CLOSE_TOO_MANY, "too many open pages")
            return
        self._user = user
        self._layer.attach(self.channel_name, self._socket)
        for group in groups:
            await self._layer.group_add(group, self.channel_name)
        await self._greet(user)
        self._rights = asyncio.create_task(self._watch_rights(user))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answers one message of the client."""
        if not self._socket.is_open:
            return
        if not self._pace.allows(time.monotonic()):
            await self.close(CLOSE_POLICY, "too many messages")
            return
        try:
            message = client_messages.parse(text_data)
        except NotUnderstood as error:
            await self._tell({"type": "error", "v": WIRE_VERSION, "detail": str(error)})
            return
        if message["type"] == "ping":
            await self._tell({"type": "pong", "v": WIRE_VERSION, "at": self.now_ms()})
        else:
            await self._change_groups(message)

    async def _greet(self, user: AbstractBaseUser) -> None:
        since, complaint = None, ""
        try:
            since = parse_since(self.scope["query_string"])
        except NotUnderstood as error:
            complaint = str(error)
        frames = [] if since is None else await self.replay(user, since)
        await self._tell(
            {
                "type": "hello",
                "v": WIRE_VERSION,
                "at": self.now_ms(),
                "user": user.get_username(),
                "groups": len(self.joined),
                "replayed": len(frames or []),
            }
        )
        self._socket.release()
        if complaint:
            await self._tell({"type": "error", "v": WIRE_VERSION, "detail": complaint})
        elif frames is None:
            await self._tell({"type": "reload", "v": WIRE_VERSION, "reason": "`since` lies too far back"})
        elif since is not None:
            await self._replay(frames, since)

    async def _replay(self, frames: Sequence[str], since: int) -> None:
        for number, text in enumerate(frames, start=1):
            await self._socket.send(message_of(text))
            if number % 100 == 0:  # a reader who keeps up lets `send` run through: the others want their turn
                await asyncio.sleep(0)
        await self._tell({"type": "replayed", "v": WIRE_VERSION, "since": since, "count": len(frames)})

    async def _change_groups(self, message: SubscribeMessage) -> None:
        refused: list[RefusedPair] = []
        if message["type"] == "subscribe":
            refused = await self.can_join(self._user, message["pairs"])
            change = self._layer.group_add
        else:
            change = self._layer.group_discard
        unwanted = {(pair["algorithm"], pair["ticker"]) for pair in refused}
        for pair in message["pairs"]:
            if (pair["algorithm"], pair["ticker"]) not in unwanted:
                await change(group_name(pair["algorithm"], pair["ticker"]), self.channel_name)
        await self._tell(
            {"type": "subscribed", "v": WIRE_VERSION, "groups": len(self.joined), "refused": refused},
        )

    async def _watch_rights(self, user: AbstractBaseUser) -> None:
        clock = asyncio.get_running_loop().time
        answered_at = clock()
        while True:
            # A little early, so that sockets that came back together do not ask together for ever.
            await asyncio.sleep(self.recheck_every * random.uniform(0.8, 1.0))
            ends_at = answered_at + self.unanswered_for
            try:
                async with asyncio.timeout_at(ends_at):
                    holds = await self.rights_hold(user)
            except (django.db.Error, TimeoutError) as error:
                logger.warning("the rights of a socket could not be checked: %s", type(error).__name__)
                if clock() < ends_at:
                    continue
                await self.close(CLOSE_TRY_AGAIN)
                return
            except Exception:
                logger.exception("the rights of a socket could not be checked; it is closed")
                await self.close(CLOSE_FAILED)
                return
            if not holds:
                await self.close(CLOSE_RIGHTS_ENDED)
                return
            answered_at = clock()

    async def _tell(self, frame: ServerFrame) -> None:
        await self._socket.send(message_of(text_of(frame)))

    @property
    def _layer(self) -> LiveChannelLayer:
        return cast("LiveChannelLayer", self.channel_layer)
