"""What an exchange is to Boritrader: the protocol, the shapes and the errors, sorted by what the caller must do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from engine.candles import Float64s


class ExchangeError(Exception):
    """Anything an exchange can do to us. Catch a subclass: each names its remedy."""


class TemporaryError(ExchangeError):
    """The network or the exchange failed; the same request may succeed later. Remedy: back off and try again."""


class RateLimited(TemporaryError):
    """HTTP 429 or 418: nobody may ask this exchange anything for `retry_after` seconds. 418 is a ban of our address."""

    def __init__(self, message: str, retry_after: float, is_ban: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.is_ban = is_ban


class RequestRefused(ExchangeError):
    """The exchange understood and said no (unknown symbol, bad parameter). Remedy: mend the request; never retry."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class UnexpectedReply(ExchangeError):
    """A reply that is not of the documented shape. Remedy: count it, keep the bytes' beginning in the log, go on."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A market as the exchange lists it. Steps are exact decimals in the quote (tick) and base (step) asset."""

    symbol: str
    base_asset: str
    quote_asset: str
    is_trading: bool
    tick_size: Decimal
    step_size: Decimal
    min_notional: Decimal


@dataclass(frozen=True, slots=True)
class KlineEvent:
    """One kline message: the candle as it stands, closed or still forming. Times in ms since 1970 UTC."""

    symbol: str
    timeframe: str
    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    is_closed: bool
    event_time: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """In-band note of a stream: a connection ended, and `symbols` may have missed candles until it says Connected."""

    symbols: frozenset[str]
    reason: str


@dataclass(frozen=True, slots=True)
class Connected:
    """In-band note of a stream: these symbols are subscribed (again); whatever closed meanwhile must be fetched."""

    symbols: frozenset[str]


@dataclass(frozen=True, slots=True)
class Malformed:
    """In-band note of a stream: a frame that could not be read. It may have been a closed candle of any symbol."""

    excerpt: str
    reason: str


StreamItem = KlineEvent | Connected | Disconnected | Malformed


class MarketData(Protocol):
    """The public market data of one exchange. Every method has a time-out and raises only ExchangeError."""

    name: str

    async def server_time_ms(self) -> int:
        """The exchange's clock, in ms since 1970 UTC."""
        ...

    async def symbols(self) -> list[Symbol]:
        """Every listed market, trading or not."""
        ...

    async def quote_volumes_24h(self) -> dict[str, float]:
        """Symbol -> traded volume of the last 24 hours in the quote asset."""
        ...

    async def klines(
        self, symbol: str, timeframe: str, start_ms: int | None = None, end_ms: int | None = None, limit: int = 1000
    ) -> Float64s:
        """An (n, 6) array of open_time, open, high, low, close, volume, oldest first, n <= limit <= 1000.

        `start_ms` and `end_ms` bound the opening instants, both inclusive; without `start_ms` the newest come. The
        last candle may still be forming: the caller compares its close with the exchange's clock.
        """
        ...

    def stream_klines(self, symbols: Iterable[str], timeframe: str = "1m") -> AsyncGenerator[StreamItem, None]:
        """Kline events of many symbols over as few connections as the exchange allows, reconnecting for ever.

        Close it when done (`contextlib.aclosing`): leaving the loop alone does not end the connections at once. A
        candle may come twice. A consumer that falls behind gets fewer forming candles, but every closed one.
        """
        ...

    def weight_used(self) -> tuple[int, int]:
        """Request weight spent in the current minute, and how much the exchange allows in one."""
        ...

    async def close(self) -> None:
        """Ends connections and sessions."""
        ...
