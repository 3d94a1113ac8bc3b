"""Browsers, as many as wished, that read everything: each notes what it heard and when, and comes back when it is cut off."""

from __future__ import annotations

import asyncio
import bisect
import random
import threading
import time
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Origin

# How long after its commit, or after the socket came back, a verdict may take (seconds).
WITHIN = 10.0
# A socket that was away longer than this (seconds) is not asked for what it should have heard meanwhile.
AWAY = 600.0
_OPEN_TIMEOUT = 5.0

Key = tuple[int, str, int]
"""(configuration, ticker, close of the candle in ms): a verdict's identity."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A verdict as Postgres has it, and when it was committed (seconds since 1970, own clock)."""

    key: Key
    signal: str
    at: float


@dataclass(slots=True)
class Connection:
    """One life of a socket: from the moment it was open to its end (infinity while it lives)."""

    opened: float
    ended: float = float("inf")


def deadline(committed: float, connections: Sequence[Connection]) -> float:
    """By when a socket must have a verdict: WITHIN seconds after its commit, spent connected without a break.

    A socket that was away, or is cut off meanwhile, has the same time again after it has come back. Infinity for one
    that has not come back.
    """
    for one in connections:
        base = max(committed, one.opened)
        if one.ended >= base + WITHIN:
            return base + WITHIN
    return float("inf")


class _Frame(msgspec.Struct):
    """What a watcher looks at."""

    type: str
    feed: str = ""
    configuration: int = 0
    ticker: str = ""
    closed_at: int = 0
    slot: int = 0
    signal: str = ""


_read = msgspec.json.Decoder(_Frame).decode


@dataclass(eq=False)
class Watcher:
    """One browser. `heard`: the first time it heard of each verdict, and what it was told."""

    url: str
    cookie: str
    origin: str
    heard: dict[Key, tuple[float, str]] = field(default_factory=dict)
    connections: list[Connection] = field(default_factory=list)
    refetches: list[float] = field(default_factory=list)  # when it was told to fetch the page's data anew
    corrections: list[float] = field(default_factory=list)  # when it was told a verdict otherwise than before
    trouble: str = ""  # why its last connection ended, or did not come
    since: int | None = None  # slot of the last closed sweep it heard of

    @property
    def is_connected(self) -> bool:
        return bool(self.connections) and self.connections[-1].ended == float("inf")

    async def watch(self) -> None:
        """Reads until cancelled; reconnects as a browser does, saying how far it has seen."""
        while True:
            try:
                async with self._connect() as socket:
                    if self.since is None:  # a page fetches what there is once it has been greeted
                        self._take(_read(await socket.recv()))
                    self.connections.append(Connection(time.time()))
                    await self._read(socket)
            except (OSError, TimeoutError, WebSocketException) as problem:
                self.trouble = f"{type(problem).__name__} {problem}"
            else:
                self.trouble = "closed by the server"
            if self.is_connected:
                self.connections[-1].ended = time.time()
            await asyncio.sleep(random.uniform(0.2, 1.0))

    def _connect(self) -> connect:
        query = "" if self.since is None else f"?since={self.since}"
        return connect(
            f"{self.url}{query}",
            origin=Origin(self.origin),
            additional_headers={"Cookie": f"sessionid={self.cookie}"},
            compression=None,
            max_size=None,
            max_queue=4,
            open_timeout=_OPEN_TIMEOUT,
            close_timeout=1,
            ping_interval=None,
        )

    async def _read(self, socket: ClientConnection) -> None:
        async for text in socket:
            self._take(_read(text))

    def forget(self, before: float) -> None:
        """What no check will ask for: verdicts heard before it, and lives of its socket but the one that lasted then."""
        for key, (at, _) in list(self.heard.items()):
            if at < before:
                del self.heard[key]
        for moments in (self.refetches, self.corrections):
            del moments[: bisect.bisect_left(moments, before)]
        del self.connections[: max(0, bisect.bisect_right(self.connections, before, key=lambda one: one.opened) - 1)]

    def _take(self, frame: _Frame) -> None:
        if frame.type == "signal" and frame.feed == "central":
            key = (frame.configuration, frame.ticker, frame.closed_at)
            _, known = self.heard.setdefault(key, (time.time(), frame.signal))
            if known != frame.signal:
                self.corrections.append(time.time())
        elif frame.type == "sweep_closed" and frame.feed == "central":
            self.since = max(self.since or 0, frame.slot)
        elif frame.type in ("reload", "gap"):
            self.refetches.append(time.time())


class Audience:
    """Watchers on an event loop of their own thread. `with Audience(url, origin) as audience: audience.seat(cookies)`."""

    def __init__(self, port: int) -> None:
        self.url = f"ws://127.0.0.1:{port}/ws/notifications/"
        self._origin = f"http://127.0.0.1:{port}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="audience", daemon=True)
        self._tasks: dict[Watcher, asyncio.Task[None]] = {}
        self.watchers: list[Watcher] = []

    def __enter__(self) -> Audience:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._leave(list(self._tasks)))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def seat(self, cookies: Iterable[str]) -> list[Watcher]:
        """One more watcher for each session cookie."""
        new = [Watcher(self.url, cookie, self._origin) for cookie in cookies]
        self._run(self._begin(new))
        self.watchers += new
        return new

    def dismiss(self, watchers: Sequence[Watcher]) -> None:
        """They leave."""
        self._run(self._leave(watchers))
        self.watchers = [one for one in self.watchers if one not in watchers]

    async def _begin(self, watchers: Sequence[Watcher]) -> None:
        for one in watchers:
            self._tasks[one] = asyncio.create_task(one.watch())
            await asyncio.sleep(0.005)

    async def _leave(self, watchers: Sequence[Watcher]) -> None:
        tasks = [self._tasks.pop(one) for one in watchers]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)


@dataclass(slots=True)
class Heard:
    """What a look at the sockets found."""

    late: int = 0  # verdicts a socket did not have by its deadline
    slowest: float = 0.0  # seconds from commit, or from coming back, to the socket
    contradicted: int = 0  # told otherwise than Postgres has it
    lost: int = 0  # told, and not in Postgres
    refetches: int = 0  # times a socket was told to fetch the page's data anew: it costs time, and loses nothing
    example: str = ""


def check(watchers: Sequence[Watcher], commits: Sequence[Commit], *, since: float, asked_at: float) -> Heard:
    """The one check of the sockets: every watcher has every verdict in time, and none that Postgres does not have.

    `commits` is all that Postgres had at `asked_at`. What should have happened before `since` was checked before; what
    has time left at `asked_at` is for the next check.
    """
    found = Heard()
    stored = {commit.key for commit in commits}
    recent = [commit for commit in commits if commit.at >= since - AWAY]
    for number, watcher in enumerate(watchers):
        for commit in recent:
            _compare(found, number, watcher, commit, since, asked_at)
        told = list(watcher.heard.items())
        unknown = [key for key, (at, _) in told if since <= at < asked_at and key not in stored]
        found.lost += len(unknown)
        found.refetches += sum(since <= at < asked_at for at in watcher.refetches)
        found.contradicted += sum(since <= at < asked_at for at in watcher.corrections)
        if unknown:
            found.example = found.example or f"socket {number} was told {unknown[0]}, which is not in Postgres"
    return found


def _compare(found: Heard, number: int, watcher: Watcher, commit: Commit, since: float, asked_at: float) -> None:
    """One verdict at one socket, if its time ended between the two."""
    if not watcher.connections or commit.at < watcher.connections[0].opened:
        return  # it was not there yet, and had nothing to come back to
    by = deadline(commit.at, watcher.connections)
    if not since <= by < asked_at:
        return
    heard_at, signal = watcher.heard.get(commit.key, (float("inf"), commit.signal))
    found.contradicted += signal != commit.signal
    if heard_at > by:
        found.late += 1
        found.example = found.example or f"socket {number} had {commit.key} {heard_at - by + WITHIN:.1f} s late"
    else:
        found.slowest = max(found.slowest, heard_at - by + WITHIN)
