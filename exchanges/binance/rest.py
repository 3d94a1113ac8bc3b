"""Binance's REST: asked through python-binance, its errors translated, its replies checked before anyone believes them."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from decimal import Decimal, InvalidOperation
from types import SimpleNamespace
from typing import Any, TypeVar

import aiohttp
import msgspec
import numpy as np
from binance.async_client import AsyncClient
from binance.exceptions import BinanceAPIException, BinanceRequestException

from engine.candles import TIMEFRAMES, Float64s
from exchanges.base import (
    ExchangeError,
    RateLimited,
    RequestRefused,
    StreamItem,
    Symbol,
    TemporaryError,
    UnexpectedReply,
)
from exchanges.binance.frames import LATEST_MS
from exchanges.binance.streams import KlineStreams, StreamTimings
from exchanges.binance.weight import WeightBudget

logger = logging.getLogger(__name__)

REST_URL = "https://api.binance.com"
STREAM_URL = "wss://stream.binance.com:9443"

WEIGHT_LIMIT = 6_000
MAX_BARS = 1_000
TIMEOUT_SECONDS = 10.0
# Where a 429, 418 or 403 does not say how long to wait.
DEFAULT_WAIT_SECONDS = 60.0
# What a later try may well mend: disconnected, too many requests, unexpected response, timeout, busy, shutting down.
TEMPORARY_CODES = {-1000, -1001, -1003, -1006, -1007, -1008, -1016}
EXCERPT = 200

T = TypeVar("T")


class _ServerTime(msgspec.Struct):
    serverTime: int  # noqa: N815


class _Ticker(msgspec.Struct):
    symbol: str
    quoteVolume: float  # noqa: N815


class _Filter(msgspec.Struct):
    filterType: str  # noqa: N815
    tickSize: str = "0"  # noqa: N815
    stepSize: str = "0"  # noqa: N815
    minNotional: str = "0"  # noqa: N815


class _Listing(msgspec.Struct):
    symbol: str
    status: str
    baseAsset: str  # noqa: N815
    quoteAsset: str  # noqa: N815
    filters: list[_Filter]


class _RateLimit(msgspec.Struct):
    rateLimitType: str  # noqa: N815
    interval: str
    intervalNum: int  # noqa: N815
    limit: int


class _ExchangeInfo(msgspec.Struct):
    symbols: list[dict[str, Any]]
    rateLimits: list[_RateLimit] = []  # noqa: N815


class _Kline(msgspec.Struct, array_like=True):
    """The first six of the twelve entries of a kline."""

    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class BinanceMarketData:
    """Public market data of Binance, or of anything that speaks its protocol: see `exchanges.base.MarketData`."""

    def __init__(
        self,
        *,
        rest_url: str | None = None,
        stream_url: str | None = None,
        name: str = "binance",
        timeout: float = TIMEOUT_SECONDS,
        timings: StreamTimings | None = None,
    ) -> None:
        self.name = name
        self.weight = WeightBudget(WEIGHT_LIMIT)
        self._rest_url = (rest_url or REST_URL).rstrip("/")
        self._timeout = timeout
        self._client: AsyncClient | None = None
        self._streams = KlineStreams((stream_url or STREAM_URL).rstrip("/"), timings or StreamTimings())

    async def server_time_ms(self) -> int:
        """The exchange's clock, in ms since 1970 UTC."""
        return _shaped(await self._ask("time", weight=1), _ServerTime).serverTime

    async def symbols(self) -> list[Symbol]:
        """Every listed market, trading or not. One whose entry cannot be read is left out and logged."""
        info = _shaped(await self._ask("exchangeInfo", weight=20), _ExchangeInfo)
        for limit in info.rateLimits:
            if (limit.rateLimitType, limit.interval, limit.intervalNum) == ("REQUEST_WEIGHT", "MINUTE", 1):
                self.weight.limit = limit.limit
        symbols = []
        for entry in info.symbols:
            try:
                symbols.append(_symbol(_shaped(entry, _Listing)))
            except UnexpectedReply as error:
                logger.warning("left a symbol out: %s", error)
        if info.symbols and not symbols:
            raise UnexpectedReply("not one symbol of exchangeInfo could be read")
        return symbols

    async def quote_volumes_24h(self) -> dict[str, float]:
        """Symbol -> traded volume of the last 24 hours in the quote asset."""
        tickers = _shaped(await self._ask("ticker/24hr", weight=80), list[_Ticker])
        return {ticker.symbol: ticker.quoteVolume for ticker in tickers}

    async def klines(
        self, symbol: str, timeframe: str, start_ms: int | None = None, end_ms: int | None = None, limit: int = MAX_BARS
    ) -> Float64s:
        """An (n, 6) array of open_time, open, high, low, close, volume, oldest first; the last may be forming."""
        if not 1 <= limit <= MAX_BARS:
            raise ValueError(f"limit must be 1 to {MAX_BARS}, not {limit}")
        wanted = {"symbol": symbol, "interval": timeframe, "startTime": start_ms, "endTime": end_ms, "limit": limit}
        reply = await self._ask(
            "klines", weight=2, **{name: value for name, value in wanted.items() if value is not None}
        )
        rows = [msgspec.structs.astuple(kline) for kline in _shaped(reply, list[_Kline])]
        return _checked(np.array(rows, dtype=np.float64).reshape(-1, 6), symbol, timeframe)

    async def stream_klines(self, symbols: Iterable[str], timeframe: str = "1m") -> AsyncGenerator[StreamItem, None]:
        """Kline events of many symbols, reconnecting for ever. Close the iterator (`contextlib.aclosing`) when done."""
        async with aclosing(self._streams.items(symbols, timeframe)) as items:
            async for item in items:
                yield item

    def weight_used(self) -> tuple[int, int]:
        """Request weight spent in the current minute, and how much the exchange allows in one."""
        return self.weight.used()

    async def close(self) -> None:
        """Ends connections and sessions."""
        self._streams.close()
        if self._client is not None:
            await self._client.close_connection()
            self._client = None

    def _open_client(self) -> AsyncClient:
        """python-binance's client without its factory, which would ask the exchange twice before the first question."""
        if self._client is None:
            tracing = aiohttp.TraceConfig()
            tracing.on_request_end.append(self._observe_weight)
            self._client = AsyncClient(
                requests_params={"timeout": aiohttp.ClientTimeout(total=self._timeout)},
                session_params={"trace_configs": [tracing]},
            )
            self._client.API_URL = f"{self._rest_url}/api"
        return self._client

    async def _observe_weight(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, end: aiohttp.TraceRequestEndParams
    ) -> None:
        self.weight.observe(end.response.headers)

    async def _ask(self, path: str, *, weight: int, **parameters: str | int) -> object:
        await self.weight.spend(weight)
        try:
            return await self._open_client()._get(path, data=parameters)
        except BinanceAPIException as error:
            raise self._translated(error) from error
        # The vendor's exception stumbles over an error body that is JSON but no object.
        except (BinanceRequestException, aiohttp.ContentTypeError, UnicodeDecodeError, AttributeError) as error:
            raise UnexpectedReply(f"{path}: {str(error)[:EXCERPT]}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TemporaryError(f"{path}: {error or type(error).__name__}") from error

    def _translated(self, error: BinanceAPIException) -> ExchangeError:
        status, code, message = error.status_code, error.code, str(error.message)[:EXCERPT]
        # 403 is the firewall in front of the exchange: asking on would not help either.
        if status in (429, 418, 403):
            wait = _seconds(error.response.headers.get("Retry-After"))
            self.weight.block(wait, is_ban=status == 418)
            return RateLimited(f"HTTP {status}: {message}", retry_after=wait, is_ban=status == 418)
        if status >= 500 or code in TEMPORARY_CODES:
            return TemporaryError(f"HTTP {status}: {message}")
        if isinstance(code, int) and code:
            return RequestRefused(message, code=code)
        return UnexpectedReply(f"HTTP {status} without a code of Binance: {message}")


def _shaped(reply: object, shape: type[T]) -> T:
    """The reply as the wanted type; numbers may be given as strings, as Binance does."""
    try:
        return msgspec.convert(reply, shape, strict=False)
    except msgspec.ValidationError as error:
        raise UnexpectedReply(f"{error}: {str(reply)[:EXCERPT]}") from error


def _symbol(listing: _Listing) -> Symbol:
    filters = {entry.filterType: entry for entry in listing.filters}
    nothing = _Filter("")
    notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or nothing
    try:
        return Symbol(
            symbol=listing.symbol,
            base_asset=listing.baseAsset,
            quote_asset=listing.quoteAsset,
            is_trading=listing.status == "TRADING",
            tick_size=Decimal(filters.get("PRICE_FILTER", nothing).tickSize),
            step_size=Decimal(filters.get("LOT_SIZE", nothing).stepSize),
            min_notional=Decimal(notional.minNotional),
        )
    except InvalidOperation as error:
        raise UnexpectedReply(f"a filter of {listing.symbol} is no number") from error


def _checked(rows: Float64s, symbol: str, timeframe: str) -> Float64s:
    """The rows, if they can be candles at all: finite, in order, on the timeframe's grid, low <= open, close <= high."""
    opened, open_, high, low, close, volume = rows.T
    is_sound = (
        np.isfinite(rows).all()
        and (low > 0).all()
        and (low <= np.minimum(open_, close)).all()
        and (high >= np.maximum(open_, close)).all()
        and (volume >= 0).all()
        and (np.diff(opened) > 0).all()
        and ((opened > 0) & (opened < LATEST_MS)).all()
        and (timeframe not in TIMEFRAMES or (opened % TIMEFRAMES[timeframe] == 0).all())
    )
    if not is_sound:
        raise UnexpectedReply(f"klines of {symbol} {timeframe} that cannot be candles")
    return rows


def _seconds(retry_after: str | None) -> float:
    try:
        seconds = float(retry_after or DEFAULT_WAIT_SECONDS)
    except ValueError:
        return DEFAULT_WAIT_SECONDS
    return max(seconds, 0.0) if np.isfinite(seconds) else DEFAULT_WAIT_SECONDS
