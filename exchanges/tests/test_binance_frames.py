from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.base import KlineEvent
from exchanges.binance.frames import StreamRefused, UnreadableFrame, read_frame
from exchanges.simulator.faults import GARBAGE
from exchanges.tests import recordings

# From the documentation of Binance, with an opening time on the grid.
FRAME = (
    b'{"stream":"bnbbtc@kline_1m","data":{"e":"kline","E":1672515782136,"s":"BNBBTC","k":{"t":1672515780000,'
    b'"T":1672515839999,"s":"BNBBTC","i":"1m","f":100,"L":200,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0005",'
    b'"v":"1000","n":100,"x":false,"q":"1.0000","V":"500","Q":"0.500","B":"123456"}}}'
)
CANDLE = KlineEvent("BNBBTC", "1m", 1672515780000, 0.001, 0.0025, 0.0005, 0.002, 1000.0, False, 1672515782136)


def test_the_documented_frame_is_read() -> None:
    assert read_frame(FRAME) == CANDLE


def test_recorded_frames_are_read() -> None:
    frames = [*recordings.frames("@kline_1m"), json.loads(FRAME)]

    candles = [read_frame(json.dumps(frame).encode()) for frame in frames]

    for frame, candle in zip(frames, candles, strict=True):
        kline = frame["data"]["k"]
        assert isinstance(candle, KlineEvent)
        assert (candle.symbol, candle.open_time, candle.is_closed) == (kline["s"], kline["t"], kline["x"])
        assert (candle.open, candle.high) == (float(kline["o"]), float(kline["h"]))
        assert (candle.low, candle.close) == (float(kline["l"]), float(kline["c"]))


def test_an_answer_is_its_id() -> None:
    assert read_frame(b'{"result":null,"id":7}') == 7


@pytest.mark.parametrize(
    "frame",
    [
        '{"code":2,"msg":"Invalid request: too many parameters","id":1}',
        '{"error":{"code":2,"msg":"Invalid request"},"id":1}',
        '{"stream":"!x","data":{"e":"serverShutdown","E":1672515782136}}',
    ],
)
def test_a_complaint_or_a_farewell_ends_the_connection(frame: str) -> None:
    with pytest.raises(StreamRefused):
        read_frame(frame.encode())


@pytest.mark.parametrize("frame", [*GARBAGE, "{}", "null", "[" * 100_000, '{"data":{"e":"trade","E":1}}'])
def test_garbage_is_unreadable(frame: str) -> None:
    with pytest.raises(UnreadableFrame):
        read_frame(frame.encode())


@pytest.mark.parametrize("value", ["NaN", "-NaN", "Infinity", "-1", "0", "", "1e999", "0x10", "<b>", None, [], {}])
@pytest.mark.parametrize("field", ["o", "h", "l", "c"])
def test_a_price_that_cannot_be_is_unreadable(field: str, value: object) -> None:
    frame = json.loads(FRAME)
    frame["data"]["k"][field] = value

    with pytest.raises(UnreadableFrame):
        read_frame(json.dumps(frame).encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("v", "-1"),
        ("v", "NaN"),
        ("v", "inf"),
        ("t", 1672515780001),
        ("t", -60_000),
        ("t", 60_000 * 10**12),
        ("i", "7m"),
    ],
)
def test_a_volume_or_time_that_cannot_be_is_unreadable(field: str, value: object) -> None:
    frame = json.loads(FRAME)
    frame["data"]["k"][field] = value

    with pytest.raises(UnreadableFrame):
        read_frame(json.dumps(frame).encode())


@given(st.integers(0, len(FRAME) - 1), st.binary(max_size=8), st.integers(0, 8))
def test_whatever_comes_is_read_or_refused(place: int, inserted: bytes, removed: int) -> None:
    try:
        read = read_frame(FRAME[:place] + inserted + FRAME[place + removed :])
    except (UnreadableFrame, StreamRefused):
        return
    assert isinstance(read, KlineEvent)
    assert 0 < read.low <= min(read.open, read.close) <= max(read.open, read.close) <= read.high < float("inf")
    assert 0 <= read.volume < float("inf")
