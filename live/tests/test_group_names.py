from __future__ import annotations

import gzip
import json
import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.groups import MARKET_GROUP, candles_group, group_name, is_live, is_private, user_group

BINANCE = Path(__file__).resolve().parents[3] / "shared" / "data" / "rest_ws" / "binance"
LEGAL = re.compile(r"[A-Za-z0-9\-_.]+")

simulated_symbols = [f"SIM{number:04}{quote}" for number in range(2000) for quote in ("USDT", "BTC")]
unusual_symbols = [
    "币安人生USDT",
    "BTC/USDT",
    "BTC_USDT",
    "BTC.USDT",
    "BTC-USDT",
    "BTCUSDT_250926",
    "XBT/EUR:EUR",
    "1000SATS",
]
names = st.text(max_size=120) | st.text(alphabet="aA_-./: 币", max_size=6)


def is_legal(group: str) -> bool:
    return len(group) < 100 and LEGAL.fullmatch(group) is not None


def unescaped(name: str) -> str:
    return b"".join(
        bytes.fromhex(part[1:]) if part.startswith(".") else part.encode()
        for part in re.findall(r"\.[0-9A-F]{2}|[^.]", name)
    ).decode("utf-8", "surrogatepass")


def recorded_symbols() -> list[str]:
    """Every symbol of the recorded exchangeInfo replies, where they are at hand."""
    symbols: set[str] = set()
    for path in BINANCE.glob("*/api_v3_exchangeInfo*.json.gz"):
        symbols |= set(re.findall(r'"symbol": ?"([^"]+)"', gzip.decompress(path.read_bytes()).decode()))
    for path in BINANCE.glob("nautilus_spot/http_json/exchange_info_response.json"):
        symbols |= {row["symbol"] for row in json.loads(path.read_text())["symbols"]}
    return sorted(symbols)


def test_plain_names_read_as_they_are_written() -> None:
    assert group_name("rsi", "BTCUSDT") == "notifications_rsi_BTCUSDT"
    assert group_name("ema_cross", "BTC/USDT") == "notifications_ema_cross_BTC.2FUSDT"
    assert candles_group("BTCUSDT") == "candles_BTCUSDT"
    assert user_group(7) == "user_7"


@given(names, names)
def test_every_name_is_legal_for_channels(algorithm: str, ticker: str) -> None:
    assert is_legal(group_name(algorithm, ticker))
    assert is_legal(candles_group(ticker))


@given(st.tuples(names, names), st.tuples(names, names))
def test_two_pairs_never_share_a_group(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (group_name(*one) == group_name(*other)) == (one == other)
    assert (candles_group(one[1]) == candles_group(other[1])) == (one[1] == other[1])


@given(st.text(max_size=8), st.text(max_size=8))
def test_a_name_that_fits_can_be_read_back(algorithm: str, ticker: str) -> None:
    group = group_name(algorithm, ticker)
    if ".sha256-" not in group:
        escaped_algorithm, _, escaped_ticker = group.removeprefix("notifications_").rpartition("_")
        assert (unescaped(escaped_algorithm), unescaped(escaped_ticker)) == (algorithm, ticker)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a_b", "c"), ("a", "b_c")),
        (("a", "BTC/USDT"), ("a", "BTC.2FUSDT")),
        (("a", "btcusdt"), ("a", "BTCUSDT")),
        (("a", "x" * 200), ("a", "x" * 201)),
        (("a" * 99, "b"), ("a" * 98, "ab")),
    ],
)
def test_pairs_that_look_alike_are_kept_apart(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert group_name(*one) != group_name(*other)


def test_no_two_symbols_of_any_exchange_at_hand_share_a_group() -> None:
    symbols = sorted({*simulated_symbols, *unusual_symbols, *recorded_symbols()})
    pairs = list(product(["rsi", "ema_cross"], symbols))

    groups = {group_name(*pair) for pair in pairs}

    assert len(groups) == len(pairs)
    assert all(is_legal(group) for group in groups)
    assert not any(".sha256-" in group for group in groups), "real symbols stay readable"


def test_only_a_users_own_group_is_private() -> None:
    assert is_private(user_group(7))
    assert not any(is_private(group) for group in (group_name("user", "1"), candles_group("user_1"), MARKET_GROUP))
    assert all(is_live(group) for group in (user_group(7), group_name("rsi", "A"), candles_group("A"), MARKET_GROUP))
    assert not is_live("backtest_7")
