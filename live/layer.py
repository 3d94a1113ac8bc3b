"""Who is in which group. The channel layer of every process that speaks to browsers (docs/adr/0001).

The groups of `live.groups` are a table in this process: joining costs no Redis call, and a frame goes from the relay
straight to the members' sockets. All other groups, and channels with a name of their own, are channels_redis' own.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import KeysView
from typing import Any, cast
from weakref import WeakKeyDictionary

from channels_redis.pubsub import RedisPubSubChannelLayer

from live.counters import counters
from live.frames import EncodedFrame
from live.groups import is_live
from live.messages import ServerFrame
from live.publish import publish
from live.socket import Socket


class NotAttached(RuntimeError):
    """A consumer joins a live group without a socket: derive it from `live.consumers.LiveConsumer`."""


class ForeignChannel(ValueError):
    """A message to one consumer's channel in another process: send to a group of its user instead."""


class Table:
    """Which sockets of one event loop are members of which groups."""

    def __init__(self) -> None:
        self._sockets: dict[str, Socket] = {}
        self._members: dict[str, dict[str, Socket]] = {}
        self._joined: dict[str, set[str]] = {}

    def attach(self, channel: str, socket: Socket) -> None:
        self._sockets[channel] = socket
        self._joined[channel] = set()
        counters.sockets += 1

    def detach(self, channel: str) -> None:
        if self._sockets.pop(channel, None) is None:
            return
        for group in self._joined.pop(channel):
            self._remove(group, channel)
        counters.sockets -= 1

    def join(self, group: str, channel: str) -> None:
        socket = self._sockets.get(channel)
        if socket is None:
            raise NotAttached(f"{channel} joins {group} before layer.attach(channel, socket)")
        self._members.setdefault(group, {})[channel] = socket
        self._joined[channel].add(group)

    def leave(self, group: str, channel: str) -> None:
        joined = self._joined.get(channel, set())
        if group in joined:
            joined.remove(group)
            self._remove(group, channel)

    def groups_of(self, channel: str) -> frozenset[str]:
        return frozenset(self._joined.get(channel, ()))

    def joined(self) -> KeysView[str]:
        return self._members.keys()

    def count(self, group: str) -> int:
        return len(self._members.get(group, ()))

    def deliver(self, group: str, frame: EncodedFrame) -> int:
        members = self._members.get(group)
        if members is None:
            return 0
        for socket in members.values():
            socket.deliver(frame)
        return len(members)

    def _remove(self, group: str, channel: str) -> None:
        members = self._members[group]
        del members[channel]
        if not members:
            del self._members[group]


class LiveChannelLayer(RedisPubSubChannelLayer):  # type: ignore[misc] # channels_redis has no types
    """channels_redis' Pub/Sub layer, with our groups in a table and one more verb: `deliver`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tables: WeakKeyDictionary[asyncio.AbstractEventLoop, Table] = WeakKeyDictionary()

    @property
    def table(self) -> Table:
        """The table of the running event loop."""
        loop = asyncio.get_running_loop()
        table = self._tables.get(loop)
        if table is None:
            table = self._tables[loop] = Table()
        return table

    def attach(self, channel: str, socket: Socket) -> None:
        """Makes the socket known under its consumer's channel name. It may join live groups from now on."""
        self.table.attach(channel, socket)

    def detach(self, channel: str) -> None:
        """Forgets the socket and all its memberships. Idempotent."""
        self.table.detach(channel)

    def groups_of(self, channel: str) -> frozenset[str]:
        """The live groups this channel's socket is joined to."""
        return self.table.groups_of(channel)

    def joined(self) -> KeysView[str]:
        """The groups that sockets of this event loop are in: those of the moment at which it is looked into."""
        return self.table.joined()

    def count(self, group: str) -> int:
        """How many sockets of this event loop are members of the group."""
        return self.table.count(group)

    def deliver(self, group: str, frame: EncodedFrame) -> int:
        """Writes the frame to the group's members in this event loop; how many they are. Never waits, never raises."""
        return self.table.deliver(group, frame)

    async def group_add(self, group: str, channel: str) -> None:
        """Joins the group. Raises NotAttached for a live group and a channel without a socket."""
        if is_live(group):
            self.table.join(group, channel)
        else:
            await self._stock("group_add")(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Leaves the group; nothing happens to one who is not in it."""
        if is_live(group):
            self.table.leave(group, channel)
        else:
            await self._stock("group_discard")(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """For a live group the message is a frame of `live.messages`, and goes to all processes by `live.publish`."""
        if is_live(group):
            await asyncio.to_thread(publish, [(group, cast("ServerFrame", message))])
        else:
            await self._stock("group_send")(group, message)

    async def new_channel(self, prefix: str = "specific.") -> str:
        """A consumer's own channel. Stock would subscribe to it in Redis: a call per socket, and no page without Redis."""
        channel = f"{self._own_prefix}{prefix}{uuid.uuid4().hex}"
        self.channels[channel] = asyncio.Queue()
        return channel

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Sends to a channel. Raises ForeignChannel for a consumer's own channel that is not in this event loop."""
        if not channel.startswith(f"{self._own_prefix}specific."):
            await self._stock("send")(channel, message)
        elif channel in self.channels:
            self.channels[channel].put_nowait(self.serialize(message))
        else:
            raise ForeignChannel(f"{channel} is not in this process")

    @property
    def _own_prefix(self) -> str:
        return cast("str", self.prefix)

    def _stock(self, verb: str) -> Any:
        # The stock class has no such methods: its __getattr__ makes them, for the layer of the running event loop.
        return self.__getattr__(verb)
