"""The REST half of the simulated exchange."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import web

from exchanges.simulator import payloads
from exchanges.simulator.faults import FaultSwitch
from exchanges.simulator.market import INTERVALS, Market

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BARS = 1_000
DEFAULT_BARS = 500
# An address that goes on asking after its 429s is banned for two minutes, as the documentation promises.
STRIKES = 100
BAN_SECONDS = 120


class Refusal(Exception):
    """The request gets an error of Binance: an HTTP status, its code and its message."""

    def __init__(self, status: int, code: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after

    def response(self) -> web.Response:
        """The documented body, and Retry-After where there is one."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return web.json_response({"code": self.code, "msg": str(self)}, status=self.status, headers=headers)


def bad_request(code: int, message: str) -> Refusal:
    """A 400 with one of the documented codes."""
    return Refusal(400, code, message)


class Weights:
    """What each address has spent in the running minute."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._minute = 0
        self._spent: dict[str, int] = {}
        self._strikes: dict[str, int] = {}
        self._banned_until: dict[str, float] = {}

    def spend(self, address: str, weight: int) -> int:
        """The address' weight with this request in it; raises Refusal with 429, or with 418 once it is banned."""
        now = time.time()
        if int(now // 60) != self._minute:
            self._minute = int(now // 60)
            self._spent.clear()
            self._strikes.clear()
        if now < self._banned_until.get(address, 0):
            raise self._ban(address, now)
        spent = self._spent[address] = self._spent.get(address, 0) + weight
        if spent > self.limit:
            strikes = self._strikes[address] = self._strikes.get(address, 0) + 1
            if strikes > STRIKES:
                self._banned_until[address] = now + BAN_SECONDS
                raise self._ban(address, now)
            message = (
                f"Too much request weight used; current limit is {self.limit} request weight per 1 MINUTE. "
                "Please use WebSocket Streams for live updates to avoid polling the API."
            )
            raise Refusal(429, -1003, message, retry_after=60 - int(now % 60))
        return spent

    def spent(self, address: str) -> int:
        """The address' weight so far."""
        return self._spent.get(address, 0)

    def _ban(self, address: str, now: float) -> Refusal:
        until = self._banned_until[address]
        message = (
            f"Way too much request weight used; IP banned until {int(until * 1000)}. "
            "Please use WebSocket Streams for live updates to avoid bans."
        )
        return Refusal(418, -1003, message, retry_after=int(until - now) + 1)


class RestApi:
    """The handlers below /api/v3/."""

    def __init__(self, market: Market, faults: FaultSwitch, weight_limit: int) -> None:
        self._market = market
        self._faults = faults
        self.weights = Weights(weight_limit)
        self.requests = 0

    def routes(self) -> list[web.RouteDef]:
        """Every endpoint, with its weight as documented."""
        return [
            web.get("/api/v3/ping", self._guarded(self._ping, lambda _: 1)),
            web.get("/api/v3/time", self._guarded(self._time, lambda _: 1)),
            web.get("/api/v3/exchangeInfo", self._guarded(self._exchange_info, lambda _: 20)),
            web.get("/api/v3/klines", self._guarded(self._klines, lambda _: 2)),
            web.get("/api/v3/ticker/24hr", self._guarded(self._day_ticker, lambda one: 2 if one else 80)),
            web.get("/api/v3/ticker/price", self._guarded(self._price_ticker, lambda one: 2 if one else 4)),
        ]

    def _guarded(self, handler: Handler, weight: Callable[[bool], int]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            address = request.remote or ""
            self.requests += 1
            try:
                if self._faults.now.latency_ms:
                    await asyncio.sleep(self._faults.now.latency_ms / 1000)
                self.weights.spend(address, weight("symbol" in request.query))
                self._fail_as_told()
                response = await handler(request)
            except Refusal as refusal:
                response = refusal.response()
            if self._faults.now.is_html:
                response = web.Response(
                    text="<html>Please log in to the hotel's network</html>", content_type="text/html"
                )
            response.headers["X-MBX-USED-WEIGHT"] = str(self.weights.spent(address))
            response.headers["X-MBX-USED-WEIGHT-1M"] = str(self.weights.spent(address))
            return response

        return handle

    def _fail_as_told(self) -> None:
        status = self._faults.take_status()
        if status in (429, 418):
            raise Refusal(status, -1003, "Too many requests queued.", retry_after=self._faults.now.retry_after)
        if status:
            raise Refusal(status, -1000, "An unknown error occurred while processing the request.")

    def _now_ms(self) -> int:
        return self._market.clock.now_ms() + self._faults.now.skew_ms

    async def _ping(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def _time(self, request: web.Request) -> web.Response:
        return web.json_response({"serverTime": self._now_ms()})

    async def _exchange_info(self, request: web.Request) -> web.Response:
        listings = [self._market.listings[place] for place in self._wanted(request.query)]
        body = payloads.exchange_info(listings, self._now_ms(), self.weights.limit)
        return web.Response(body=body, content_type="application/json")

    async def _klines(self, request: web.Request) -> web.Response:
        query = request.query
        for name in ("symbol", "interval"):
            if not query.get(name):
                raise bad_request(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        market = self._place(query["symbol"])
        interval = query["interval"]
        if interval not in INTERVALS:
            raise bad_request(-1120, "Invalid interval.")
        start, end = _integer(query, "startTime"), _integer(query, "endTime")
        limit = _integer(query, "limit")
        if limit is not None and limit < 1:
            raise bad_request(-1130, "Data sent for parameter 'limit' is not valid.")
        limit = min(limit or DEFAULT_BARS, MAX_BARS)
        now = self._market.clock.now_ms()
        # In a thread: a long history would hold up the streams.
        bars = await asyncio.to_thread(self._market.bars, market, interval, start, end, limit, now)
        return _json(payloads.klines(bars, interval))

    async def _day_ticker(self, request: web.Request) -> web.Response:
        kind = request.query.get("type", "FULL")
        if kind not in ("FULL", "MINI"):
            raise bad_request(-1130, "Data sent for parameter 'type' is not valid.")
        now = self._market.clock.now_ms()
        places = self._wanted(request.query)
        day = (await asyncio.to_thread(self._market.day, now)).tolist()
        listings = self._market.listings
        told = now + self._faults.now.skew_ms
        tickers = [payloads.day_ticker(listings[x], day[x], told, is_mini=kind == "MINI") for x in places]
        return _json(tickers[0] if "symbol" in request.query else tickers)

    async def _price_ticker(self, request: web.Request) -> web.Response:
        places = self._wanted(request.query)
        day = (await asyncio.to_thread(self._market.day, self._market.clock.now_ms())).tolist()
        tickers = [payloads.price_ticker(self._market.listings[x], day[x]) for x in places]
        return _json(tickers[0] if "symbol" in request.query else tickers)

    def _wanted(self, query: Mapping[str, str]) -> list[int]:
        """The markets that a request names by `symbol` or `symbols`, or all."""
        if "symbol" in query and "symbols" in query:
            raise bad_request(-1128, "Combination of optional parameters invalid.")
        if "symbol" in query:
            return [self._place(query["symbol"])]
        if "symbols" not in query:
            return list(range(len(self._market.listings)))
        try:
            symbols = msgspec.json.decode(query["symbols"].encode(), type=list[str])
        except msgspec.DecodeError as error:
            raise bad_request(-1100, "Illegal characters found in parameter 'symbols'.") from error
        return [self._place(symbol) for symbol in symbols]

    def _place(self, symbol: str) -> int:
        place = self._market.place.get(symbol)
        if place is None:
            raise bad_request(-1121, "Invalid symbol.")
        return place


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _integer(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 16:
        legal = r"^[0-9]{1,20}$"
        raise bad_request(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")
    return int(text)
