"""What a simulated exchange can be told to do wrong."""

from __future__ import annotations

from itertools import cycle

import msgspec

# What exchanges, proxies and broken networks really send in place of a frame.
GARBAGE = [
    "",
    "<html><body>502 Bad Gateway</body></html>",
    '{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1633998',
    '{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1633998523963,"s":"BTCUSDT","k":{"t":"soon"}}}',
    '{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1,"s":"BTCUSDT","k":{"t":0,"i":"1m","o":"NaN","c":"","x":true}}}',
    (
        '{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1633998523963,"s":"BTCUSDT","k":{"t":1633998480000,'
        '"i":"1m","o":"1","c":"NaN","h":"2","l":"inf","v":"-1","x":true}}}'
    ),
    '{"stream":"btcusdt@kline_1m","data":null}',
    "[1,2,3]",
]


class Faults(msgspec.Struct, forbid_unknown_fields=True):
    """The fault switch. Every field is a fault; its default is none.

    `latency_ms`: every REST reply comes so much later.
    `status`: REST answers so (429, 418, 500, 503, ...) instead of what was asked, for the next `requests` requests
    (0: until cleared), with `retry_after` seconds in the header of a 429 or 418.
    `is_html`: REST answers 200 with a page of HTML.
    `is_silent`: streams send nothing, though sockets stay open.
    `garbled_frames`: so many of the next frames are sent as garbage instead.
    `drop_closed`: so many of the next closed candles are never sent.
    `refuse_sockets`: new sockets are turned away with 503.
    `skew_ms`: the exchange's clock, as it tells it, is so much ahead.
    `cut`: every open socket is cut at once, without a closing handshake.
    """

    latency_ms: int = 0
    status: int = 0
    requests: int = 0
    retry_after: int = 1
    is_html: bool = False
    is_silent: bool = False
    garbled_frames: int = 0
    drop_closed: int = 0
    refuse_sockets: bool = False
    skew_ms: int = 0
    cut: bool = False


class FaultSwitch:
    """The faults in force, and what they have done so far."""

    def __init__(self) -> None:
        self.now = Faults()
        self._garbage = cycle(GARBAGE)

    def change(self, wanted: bytes) -> None:
        """Sets the faults named in a JSON object; the others stay. Raises msgspec.ValidationError for unknown ones."""
        changed = msgspec.json.decode(wanted, type=dict[str, msgspec.Raw])
        known = msgspec.json.decode(wanted, type=Faults)
        for name in changed:
            setattr(self.now, name, getattr(known, name))

    def clear(self) -> None:
        """Everything is well again."""
        self.now = Faults()

    def take_status(self) -> int:
        """The status a REST request must be refused with, or 0."""
        status = self.now.status
        if status and self.now.requests:
            self.now.requests -= 1
            if not self.now.requests:
                self.now.status = 0
        return status

    def take_dropped(self) -> bool:
        """Whether the next closed candle is lost."""
        if not self.now.drop_closed:
            return False
        self.now.drop_closed -= 1
        return True

    def take_garbage(self) -> str | None:
        """What to send in place of the next frame, if anything."""
        if not self.now.garbled_frames:
            return None
        self.now.garbled_frames -= 1
        return next(self._garbage)
