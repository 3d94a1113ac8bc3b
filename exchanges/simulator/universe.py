"""The markets a simulated exchange lists: real-looking names, prices, steps and turnovers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Decimal
from itertools import count

import numpy as np

# Real names in about the order of their turnover. The one in Chinese is really listed.
ASSETS: list[str] = """
    BTC ETH SOL XRP BNB DOGE 币安人生 ADA TRX LINK AVAX SUI LTC PEPE DOT SHIB NEAR UNI AAVE HBAR BCH XLM APT FIL ARB
    WLD OP ENA TON ICP ETC FET ATOM INJ TIA SEI RENDER BONK WIF FLOKI CRV LDO JUP ORDI GALA SAND MANA AXS EOS ALGO
    VET RUNE STX IMX GRT THETA PENDLE PYTH JTO STRK DYDX SNX COMP MKR ZEC DASH XTZ IOTA NEO QTUM KAVA CHZ ENJ BAT
    ZIL ONE KSM EGLD FLOW MINA ROSE CFX BLUR GMX MASK ENS APE LRC ANKR SKL CELO ZRX STORJ BAND OCEAN RSR YFI SUSHI
    CAKE TWT GLM ICX ONT RVN IOST HOT WOO JASMY GMT MAGIC HIGH AGLD API3 RAY AR CKB PEOPLE TRB UMA XAI ALT MANTA
""".split()  # noqa: SIM905

# Quote asset -> its price in USD, its smallest order, and how much rarer a market in it is than one in USDT.
QUOTES: dict[str, tuple[float, str, float]] = {
    "USDT": (1.0, "5.00000000", 1.0),
    "USDC": (1.0, "5.00000000", 4.0),
    "BTC": (65_000.0, "0.00010000", 6.0),
    "FDUSD": (1.0, "5.00000000", 9.0),
    "TRY": (0.03, "10.00000000", 11.0),
    "ETH": (3_200.0, "0.00100000", 14.0),
    "EUR": (1.08, "5.00000000", 16.0),
    "BNB": (600.0, "0.01000000", 20.0),
}

USD_PRICES = {
    "BTC": 65_000.0, "ETH": 3_200.0, "SOL": 150.0, "XRP": 0.6, "BNB": 600.0, "DOGE": 0.12, "ADA": 0.45, "TRX": 0.13,
    "LINK": 14.0, "AVAX": 28.0, "LTC": 80.0, "DOT": 6.0, "PEPE": 0.00002, "SHIB": 0.00003, "BONK": 0.00004,
}  # fmt: skip

# Coins are quoted in a coin only if they are cheaper, and not too cheap for eight decimals.
COINS = {"BTC", "ETH", "BNB"}
LOWEST_PRICE = 0.000002

# What the most traded market turns over in a minute, in USD.
TOP_TURNOVER = 900_000.0
# Every so many markets one is thin: most of its minutes see no trade.
THIN_EVERY = 8


# Money that stands for a dollar does not move against it; other money hardly does.
DOLLARS = {"USDT", "USDC", "FDUSD"}
MONEY_VOLATILITY = 0.00002


@dataclass(frozen=True, slots=True)
class Asset:
    """What moves. `usd` is the price it moves around, `volatility` the typical move of one minute as a fraction of
    it, `beta` how much of the whole market's moves it shares."""

    name: str
    usd: float
    volatility: float
    beta: float


@dataclass(frozen=True, slots=True)
class Listing:
    """One market. `price` is in the quote asset; `turnover` is what it trades in a busy-as-usual minute, in the quote
    asset; `quiet` is the share of minutes without a trade."""

    symbol: str
    base_asset: str
    quote_asset: str
    price: float
    price_decimals: int
    volume_decimals: int
    min_notional: str
    turnover: float = 0.0
    quiet: float = 0.0

    @property
    def tick_size(self) -> Decimal:
        """The smallest step of a price, in the quote asset."""
        return Decimal(1).scaleb(-self.price_decimals)

    @property
    def step_size(self) -> Decimal:
        """The smallest step of a quantity, in the base asset."""
        return Decimal(1).scaleb(-self.volume_decimals)


def fraction(*parts: object) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.blake2b(":".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def list_markets(number: int, seed: int) -> list[Listing]:
    """`number` different markets, the most traded first: BTCUSDT, ETHUSDT, SOLUSDT and so on."""
    # Each quote asset takes the base assets in their order; its rarity says how soon. `number` assets are enough.
    assets = asset_names(min(number, max(len(ASSETS), number // 3)))
    pairs = [
        (rank * rarity, base, quote)
        for rank, base in enumerate(assets, 1)
        for quote, (_, _, rarity) in QUOTES.items()
        if _is_quoted(asset_of(base, seed).usd, quote)
    ]
    pairs.sort()
    markets: dict[str, Listing] = {}
    for rarity, base, quote in pairs:
        if base + quote not in markets:
            markets[base + quote] = _market(base, quote, rarity, is_thin=len(markets) % THIN_EVERY == 7, seed=seed)
        if len(markets) == number:
            break
    return list(markets.values())


def asset_names(number: int) -> list[str]:
    """The real names, then pronounceable ones: BABA, BABE, ..."""
    names = dict.fromkeys(ASSETS[:number])
    syllables = [consonant + vowel for consonant in "BDFGKLMNPRSTVZ" for vowel in "AEIOU"]
    for place in count():
        if len(names) >= number:
            break
        first, rest = divmod(place, len(syllables))
        while first >= len(syllables):
            first -= len(syllables)
            rest = (rest + 7) % len(syllables)
        name = syllables[first] + syllables[rest] + ("" if place < len(syllables) ** 2 else str(place))
        names.setdefault(name)
    return list(names)


def market_of(symbol: str, price: float, price_decimals: int, volume_decimals: int) -> Listing:
    """The listing of a recorded market, whose steps are those of its recording."""
    quote = next((name for name in QUOTES if symbol.endswith(name)), symbol[-3:])
    _, min_notional, _ = QUOTES.get(quote, (1.0, "5.00000000", 1.0))
    base = symbol.removesuffix(quote)
    return Listing(symbol, base, quote, price, price_decimals, volume_decimals, min_notional)


def asset_of(name: str, seed: int) -> Asset:
    """The character of an asset."""
    if name in DOLLARS:
        return Asset(name, 1.0, 0.0, 0.0)
    if name in ("EUR", "TRY"):
        return Asset(name, QUOTES[name][0], MONEY_VOLATILITY, 0.0)
    usd = USD_PRICES.get(name) or 10 ** (4 * fraction(seed, name, "price") - 2.5)
    volatility = 0.0002 + 0.0006 * fraction(seed, name, "volatility")
    return Asset(name, usd, volatility, 0.6 + 0.8 * fraction(seed, name, "beta"))


def _is_quoted(usd: float, quote: str) -> bool:
    price = usd / QUOTES[quote][0]
    return price >= LOWEST_PRICE and (quote not in COINS or price < 1)


def _market(base: str, quote: str, rarity: float, *, is_thin: bool, seed: int) -> Listing:
    quote_usd, min_notional, _ = QUOTES[quote]
    usd = asset_of(base, seed).usd
    price = usd / quote_usd
    turnover = TOP_TURNOVER / rarity**1.1 / (40 if is_thin else 1)
    return Listing(
        symbol=base + quote,
        base_asset=base,
        quote_asset=quote,
        price=price,
        price_decimals=int(np.clip(np.ceil(4.5 - np.log10(price)), 2, 8)),
        volume_decimals=int(np.clip(np.round(np.log10(usd)), 0, 5)),
        min_notional=min_notional,
        turnover=max(turnover, 30.0) / quote_usd,
        quiet=0.3 + 0.45 * fraction(seed, base + quote, "quiet") if is_thin else 0.0,
    )
