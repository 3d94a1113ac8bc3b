"""Exchanges: everything that talks to one, and the simulated one. Free of Django."""

from __future__ import annotations

from exchanges.base import MarketData


def open_market_data(name: str = "binance", rest_url: str | None = None, stream_url: str | None = None) -> MarketData:
    """The public market data of an exchange by its name; the URLs default to the exchange's own.

    Opens no connection and needs no running event loop. Raises ValueError for an unknown name, and for the simulated
    exchange without its URLs: it has no public ones.
    """
    # Here, so that who needs only the shapes and errors of `exchanges.base` does not load python-binance.
    from exchanges.binance import BinanceMarketData

    if name == "binance":
        return BinanceMarketData(rest_url=rest_url, stream_url=stream_url)
    if name == "simulated":
        if rest_url is None or stream_url is None:
            raise ValueError("the simulated exchange has no public address: give rest_url and stream_url")
        return BinanceMarketData(rest_url=rest_url, stream_url=stream_url, name=name)
    raise ValueError(f"unknown exchange {name!r}; choose binance or simulated")
