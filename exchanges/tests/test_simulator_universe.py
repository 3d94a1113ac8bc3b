from __future__ import annotations

from datetime import datetime

import pytest

from exchanges.simulator import SimulatorConfig
from exchanges.simulator.universe import QUOTES, list_markets


@pytest.mark.parametrize("number", [1, 2, 100, 2_000, 8_000])
def test_as_many_different_markets_as_asked(number: int) -> None:
    symbols = [listing.symbol for listing in list_markets(number, 1)]

    assert len(symbols) == len(set(symbols)) == number
    assert symbols[:2] == ["BTCUSDT", "ETHUSDT"][:number]


def test_a_hundred_markets_have_thin_ones_and_a_chinese_name() -> None:
    listings = list_markets(100, 1)

    assert "币安人生USDT" in {listing.symbol for listing in listings}
    assert sum(listing.quiet > 0 for listing in listings) == 12
    assert all(listing.base_asset + listing.quote_asset == listing.symbol for listing in listings)
    assert {listing.quote_asset for listing in listings} <= set(QUOTES)


def test_a_price_has_enough_steps_to_move_on() -> None:
    for listing in list_markets(2_000, 1):
        assert listing.price / float(listing.tick_size) >= 200, listing


@pytest.mark.parametrize(
    "wrong",
    [{"tickers": 0}, {"history_minutes": -1}, {"start_at": datetime(2026, 1, 1)}],  # noqa: DTZ001
)
def test_an_impossible_config_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        SimulatorConfig(**wrong)  # type: ignore[arg-type]
