"""Every frame that crosses a WebSocket, in one place. `manage.py export_wire_schema` writes them to wire.schema.json,
which the browser's tests read.

Instants are integer milliseconds since 1970 UTC. `v` is the version of the wire format: a frame whose `v` or `type`
a client does not know is ignored by it.
"""

from __future__ import annotations

from typing import Final, Literal, NotRequired, TypedDict

WIRE_VERSION: Final = 1

SignalName = Literal["BUY", "SELL", "DO NOTHING"]


class SignalFrame(TypedDict):
    """One verdict. (configuration, ticker, closed_at) is its identity, and inside one group also its order."""

    type: Literal["signal"]
    v: Literal[1]
    feed: str  # "central", or "premium:<user id>:<preference id>" in the owner's private group
    configuration: int
    algorithm: str
    ticker: str
    timeframe: str
    closed_at: int  # close of the candle the verdict belongs to
    slot: int  # the sweep that wrote it
    signal: SignalName
    is_call: bool  # the verdict turned to BUY or SELL on this candle
    value: float | None  # the algorithm's line at this candle, e.g. the RSI
    price: float | None  # the candle's close, in the quote asset
    reason: str  # why there is no opinion ("gap in the look-back ..."), else ""


class SweepClosedFrame(TypedDict):
    """A sweep ended. After it, every result of that slot has been sent to the groups it belongs to."""

    type: Literal["sweep_closed"]
    v: Literal[1]
    feed: str
    slot: int
    closed_at: int
    duration_ms: int
    tickers: int
    ok: int
    stale: int
    failed: int
    missing: int
    results: int
    calls: int


class MarketFrame(TypedDict):
    """How fresh the market data is; sent to `market_` when it changes and every few seconds."""

    type: Literal["market"]
    v: Literal[1]
    exchange: str
    is_connected: bool
    is_simulated: bool
    at: int
    watermarks: dict[str, int]  # timeframe -> all candles that closed up to this instant are in


class NotificationFrame(TypedDict):
    """Something the user should know, in the user's private group."""

    type: Literal["notification"]
    v: Literal[1]
    id: str
    level: Literal["info", "warning", "error"]
    title: str
    body: str
    created_at: int


class HelloFrame(TypedDict):
    """First frame of every connection: the server's clock and what this socket is joined to."""

    type: Literal["hello"]
    v: Literal[1]
    at: int
    user: str
    groups: int
    replayed: int  # signal frames that follow because `since` was given


class ReplayedFrame(TypedDict):
    """The frames asked for by `since` have all been sent."""

    type: Literal["replayed"]
    v: Literal[1]
    since: int
    count: int


class ReloadFrame(TypedDict):
    """Fetch the page's data anew, over a new socket: `since` lies too far back, or what the user follows has changed."""

    type: Literal["reload"]
    v: Literal[1]
    reason: str


class GapFrame(TypedDict):
    """This socket read too slowly and frames were dropped: fetch the page's data anew.

    The newest frame of every line did come, among them perhaps a `sweep_closed`, so `since` would not bring the rest.
    """

    type: Literal["gap"]
    v: Literal[1]
    dropped: int


class RefusedPair(TypedDict):
    algorithm: str
    ticker: str
    reason: str


class SubscribedFrame(TypedDict):
    """Answer to subscribe and unsubscribe: from now on. What was written before is in the page's data."""

    type: Literal["subscribed"]
    v: Literal[1]
    groups: int
    refused: list[RefusedPair]


class ErrorFrame(TypedDict):
    """A client's message that could not be understood, and what to send instead."""

    type: Literal["error"]
    v: Literal[1]
    detail: str


class PongFrame(TypedDict):
    type: Literal["pong"]
    v: Literal[1]
    at: int


ServerFrame = (
    SignalFrame
    | SweepClosedFrame
    | MarketFrame
    | NotificationFrame
    | HelloFrame
    | ReplayedFrame
    | ReloadFrame
    | GapFrame
    | SubscribedFrame
    | ErrorFrame
    | PongFrame
)


class Pair(TypedDict):
    algorithm: str
    ticker: str


class SubscribeMessage(TypedDict):
    """Joins or leaves the groups of these pairs for as long as this socket lives (nothing is stored)."""

    type: Literal["subscribe", "unsubscribe"]
    pairs: list[Pair]
    v: NotRequired[Literal[1]]


class PingMessage(TypedDict):
    type: Literal["ping"]
    v: NotRequired[Literal[1]]


ClientMessage = SubscribeMessage | PingMessage

# Close codes of our own. The browser client reconnects after every code but the first two.
CLOSE_UNAUTHENTICATED: Final = 4401
CLOSE_RIGHTS_ENDED: Final = 4403
CLOSE_TOO_SLOW: Final = 4008
CLOSE_TOO_MANY: Final = 4429  # more pages open at once than the plan allows
# Codes of the protocol itself, with what we mean by them.
CLOSE_POLICY: Final = 1008  # more messages than a page ever sends
CLOSE_FAILED: Final = 1011  # a fault of ours
CLOSE_TRY_AGAIN: Final = 1013  # the database did not answer, or too many wanted to be let in at once
