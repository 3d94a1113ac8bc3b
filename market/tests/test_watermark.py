from __future__ import annotations

from datetime import UTC, datetime

from redis import Redis

from market import watermark

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_what_was_published_is_read(live: Redis) -> None:
    watermark.publish({"1m": int(NOON.timestamp() * 1000)}, late=[7, 3])

    assert watermark.read() == {"1m": NOON}
    assert watermark.late_tickers() == [3, 7]


def test_before_the_first_nothing_is_complete(live: Redis) -> None:
    assert watermark.read() == {}
    assert watermark.late_tickers() == []


def test_publishing_tells_whether_the_store_was_emptied(live: Redis) -> None:
    assert not watermark.publish({"1m": 0})
    assert watermark.publish({"1m": 60_000})
    live.flushdb()
    assert not watermark.publish({"1m": 120_000})


def test_only_so_many_late_tickers_are_named(live: Redis) -> None:
    watermark.publish({"1m": 0}, late=range(5_000))

    assert len(watermark.late_tickers()) == watermark.MAX_LATE
