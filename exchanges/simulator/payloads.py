"""What Binance says, as it says it: numbers of a candle are strings with eight decimals, times are integers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from engine.candles import MINUTE_MS, Float64s
from exchanges.simulator.market import INTERVALS, TRADES_PER_MINUTE
from exchanges.simulator.universe import Listing

ORDER_TYPES = [
    "LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT",
]  # fmt: skip

# %-formatting is the cheapest there is: a frame takes about 5 microseconds.
KLINE = (
    '{"e":"kline","E":%d,"s":"%s","k":{"t":%d,"T":%d,"s":"%s","i":"%s","f":%d,"L":%d,"o":"%.8f","c":"%.8f","h":"%.8f",'
    '"l":"%.8f","v":"%.8f","n":%d,"x":%s,"q":"%.8f","V":"%.8f","Q":"%.8f","B":"0"}}'
)
MINI_TICKER = '{"e":"24hrMiniTicker","E":%d,"s":"%s","c":"%.8f","o":"%.8f","h":"%.8f","l":"%.8f","v":"%.8f","q":"%.8f"}'


def kline_event(symbol: str, interval: str, bar: Float64s, event_ms: int, *, is_closed: bool) -> str:
    """The payload of a kline stream for one bar (10,)."""
    opened, open_, high, low, close, volume, quote, trades, taker, taker_quote = bar.tolist()
    first, last = _trade_ids(opened, int(trades))
    return KLINE % (
        event_ms, symbol, opened, opened + INTERVALS[interval] - 1, symbol, interval, first, last, open_, close, high,
        low, volume, trades, "true" if is_closed else "false", quote, taker, taker_quote,
    )  # fmt: skip


def klines(bars: Float64s, interval: str) -> list[list[int | str]]:
    """The reply of /api/v3/klines for bars (n, 10)."""
    length = INTERVALS[interval]
    return [
        [
            int(opened), f"{open_:.8f}", f"{high:.8f}", f"{low:.8f}", f"{close:.8f}", f"{volume:.8f}",
            int(opened) + length - 1, f"{quote:.8f}", int(trades), f"{taker:.8f}", f"{taker_quote:.8f}", "0",
        ]
        for opened, open_, high, low, close, volume, quote, trades, taker, taker_quote in bars.tolist()
    ]  # fmt: skip


def exchange_info(listings: Iterable[Listing], server_time: int, weight_limit: int) -> bytes:
    """The reply of /api/v3/exchangeInfo."""
    info = {
        "timezone": "UTC",
        "serverTime": server_time,
        "rateLimits": [
            _rate_limit("REQUEST_WEIGHT", "MINUTE", 1, weight_limit),
            _rate_limit("ORDERS", "SECOND", 10, 100),
            _rate_limit("ORDERS", "DAY", 1, 200_000),
            _rate_limit("RAW_REQUESTS", "MINUTE", 5, 61_000),
        ],
        "exchangeFilters": [],
        "symbols": [_symbol(listing) for listing in listings],
    }
    return msgspec.json.encode(info)


def price_ticker(listing: Listing, day: Sequence[float]) -> dict[str, str]:
    """One entry of /api/v3/ticker/price from a market's bar of 24 hours."""
    return {"symbol": listing.symbol, "price": f"{day[4]:.8f}"}


def mini_ticker(listing: Listing, day: Sequence[float], event_ms: int) -> str:
    """One entry of the !miniTicker@arr stream from a market's bar of 24 hours."""
    _, open_, high, low, close, volume, quote, *_ = day
    return MINI_TICKER % (event_ms, listing.symbol, close, open_, high, low, volume, quote)


def day_ticker(listing: Listing, day: Sequence[float], now_ms: int, *, is_mini: bool = False) -> dict[str, Any]:
    """One entry of /api/v3/ticker/24hr from a market's bar of 24 hours."""
    opened, open_, high, low, close, volume, quote, trades, *_ = day
    first, last = _trade_ids(opened, int(trades))
    ticker: dict[str, Any] = {
        "symbol": listing.symbol,
        "openPrice": f"{open_:.8f}",
        "highPrice": f"{high:.8f}",
        "lowPrice": f"{low:.8f}",
        "lastPrice": f"{close:.8f}",
        "volume": f"{volume:.8f}",
        "quoteVolume": f"{quote:.8f}",
        "openTime": int(opened),
        "closeTime": now_ms,
        "firstId": first,
        "lastId": last,
        "count": int(trades),
    }
    if is_mini:
        return ticker
    tick, step = float(listing.tick_size), float(listing.step_size)
    return ticker | {
        "priceChange": f"{close - open_:.8f}",
        "priceChangePercent": f"{(close / open_ - 1) * 100 if open_ else 0:.3f}",
        "weightedAvgPrice": f"{quote / volume if volume else 0:.8f}",
        "prevClosePrice": f"{open_:.8f}",
        "lastQty": f"{step:.8f}",
        "bidPrice": f"{close - tick:.8f}",
        "bidQty": f"{step * 10:.8f}",
        "askPrice": f"{close:.8f}",
        "askQty": f"{step * 10:.8f}",
    }


def _trade_ids(opened: float, trades: int) -> tuple[int, int]:
    """The first and last trade of a bar; Binance says -1 where there was none."""
    if not trades:
        return -1, -1
    first = int(opened) // MINUTE_MS * (TRADES_PER_MINUTE + 1)
    return first, first + trades - 1


def _rate_limit(kind: str, interval: str, number: int, limit: int) -> dict[str, str | int]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}


def _symbol(listing: Listing) -> dict[str, Any]:
    return {
        "symbol": listing.symbol,
        "status": "TRADING",
        "baseAsset": listing.base_asset,
        "baseAssetPrecision": 8,
        "quoteAsset": listing.quote_asset,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ORDER_TYPES,
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": listing.quiet == 0,
        "filters": _filters(listing),
        "permissions": [],
        "permissionSets": [["SPOT", "MARGIN"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"],
    }


def _filters(listing: Listing) -> list[dict[str, Any]]:
    tick, step = f"{listing.tick_size:.8f}", f"{listing.step_size:.8f}"
    highest = 10 ** math.ceil(math.log10(listing.price * 10))
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": f"{highest:.8f}", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000.00000000", "stepSize": step},
        {"filterType": "ICEBERG_PARTS", "limit": 10},
        {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "100000.00000000", "stepSize": "0.00000000"},
        {
            "filterType": "TRAILING_DELTA",
            "minTrailingAboveDelta": 10,
            "maxTrailingAboveDelta": 2000,
            "minTrailingBelowDelta": 10,
            "maxTrailingBelowDelta": 2000,
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": "5",
            "bidMultiplierDown": "0.2",
            "askMultiplierUp": "5",
            "askMultiplierDown": "0.2",
            "avgPriceMins": 5,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": listing.min_notional,
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
    ]  # fmt: skip
