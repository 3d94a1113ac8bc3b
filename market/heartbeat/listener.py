"""One stream of 1m klines over a set of symbols."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from exchanges.base import Connected, Disconnected, KlineEvent, Malformed, MarketData, StreamItem
from market.heartbeat.minutes import Minutes

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Heard:
    """What all streams of this process have brought so far."""

    last_message_at: datetime | None = None
    reconnects: int = 0
    malformed: int = 0


class Listener:
    """Hands what a stream brings to the minutes, and knows which symbols are connected."""

    def __init__(self, exchange: MarketData, symbols: Iterable[str], minutes: Minutes, heard: Heard) -> None:
        self.symbols = frozenset(symbols)
        self._exchange = exchange
        self._minutes = minutes
        self._heard = heard
        self._connected: set[str] = set()
        self._lost: set[str] = set()
        self._is_complete = asyncio.Event()
        self.task = asyncio.create_task(self._listen())

    @property
    def is_connected(self) -> bool:
        """Whether every symbol is subscribed."""
        return self._is_complete.is_set()

    async def wait_until_connected(self, seconds: float) -> None:
        """Returns when every symbol is subscribed, the stream has failed, or the time is over."""
        waiting = asyncio.create_task(self._is_complete.wait())
        await asyncio.wait({waiting, self.task}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def _listen(self) -> None:
        async with aclosing(self._exchange.stream_klines(self.symbols, "1m")) as items:
            async for item in items:
                self._take(item)

    def _take(self, item: StreamItem) -> None:
        match item:
            case KlineEvent():
                self._minutes.take(item)
            case Connected(symbols):
                self._connected |= symbols
                if self._lost & symbols:
                    self._heard.reconnects += 1
                    self._lost -= symbols
                    logger.info("connected again: %d symbols", len(symbols))
                self._minutes.catch_up(symbols)
            case Disconnected(symbols, reason):
                self._connected -= symbols
                self._lost |= symbols
                logger.warning("the stream of %d symbols ended: %s", len(symbols), reason)
                self._note_completeness()
                return
            case Malformed(excerpt, reason):
                self._heard.malformed += 1
                logger.warning("a frame that cannot be read (%s): %.100r", reason, excerpt)
        self._heard.last_message_at = datetime.now(UTC)
        self._note_completeness()

    def _note_completeness(self) -> None:
        if self._connected >= self.symbols:
            self._is_complete.set()
        else:
            self._is_complete.clear()
