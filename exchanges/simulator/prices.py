"""Prices from counter-based noise: any minute of any market is computed alone, and always comes out the same.

A log price is a sum of value noise (hashed values on a lattice, joined smoothly) over octaves whose spans double from
one minute to a year. Amplitudes grow with the square root of the span, as a random walk's do, so there are trends on
every scale; slow noise scales the fast octaves, so calm ranges follow wild hours; now and then the price jumps.
What moves is an asset, with a share of the whole market's moves: ETHBTC is ETHUSDT over BTCUSDT, but for a little noise
of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.candles import Float64s
from exchanges.simulator.universe import MONEY_VOLATILITY, Asset, Listing, asset_of

Integers = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
Places = npt.NDArray[np.intp]

# Columns of a minute.
OPEN, HIGH, LOW, CLOSE, VOLUME = range(5)

SPANS = [2**octave for octave in range(20)]
# Octaves up to this span are scaled by the regime.
FAST_SPAN = 256
REGIME_SPAN = 720
JUMP_SPAN = 1_024
JUMP_SHARE = 0.2
# A thin market trades at least once in so many minutes, which bounds how far back its last price lies.
QUIET_BLOCK = 8

MARKET_VOLATILITY = 0.0003
# How far a market strays from what its two assets are worth elsewhere.
OWN_NOISE = 0.00006

# The noises of an asset and of a market: each has a key.
ASSET_NOISE: list[str | int] = [*SPANS, "regime", "jump", "jump size", "jump place"]
MARKET_NOISE = ["own", "above", "below", "surge", "crowd", "trades", "quiet", "path"]

# splitmix64 (Steele, Lea, Flood 2014): every bit of the counter reaches every bit of the result.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)


def uniform(keys: Keys, counters: Integers) -> Float64s:
    """Hashed numbers in [0, 1), one for each key and counter (shapes broadcast)."""
    x: Keys = keys + counters.astype(np.uint64) * GOLDEN
    x = (x ^ (x >> np.uint64(30))) * MIX_1
    x = (x ^ (x >> np.uint64(27))) * MIX_2
    x ^= x >> np.uint64(31)
    hashed: Float64s = (x >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return hashed


def value_noise(keys: Keys, times: Integers, span: int) -> Float64s:
    """Noise in (-1, 1): keys (s, 1) and consecutive times (n,) give (s, n). Only lattice points are hashed."""
    # Shifted, so that the lattices of different octaves do not have their knots at the same minutes.
    cells, within = np.divmod(times + span * 7 // 11, span)
    first = int(cells[0])
    lattice = uniform(keys, np.arange(first, int(cells[-1]) + 2)) * 2.0 - 1.0
    if span == 1:
        return lattice[:, :-1]
    at = within / span
    weight = at * at * (3.0 - 2.0 * at)
    place = cells - first
    left = lattice[:, place]
    return left + (lattice[:, place + 1] - left) * weight


class NoisePrices:
    """The one-minute candles of many markets. Minutes are counted since 1970 UTC."""

    first_minute = 25_000_000  # July 2017
    missing_minutes = 0

    def __init__(self, listings: Sequence[Listing], seed: int) -> None:
        names = dict.fromkeys(name for x in listings for name in (x.base_asset, x.quote_asset))
        assets = [*(asset_of(name, seed) for name in names), Asset("", 1.0, MARKET_VOLATILITY, 0.0)]
        row = {asset.name: place for place, asset in enumerate(assets)}
        self._base = np.array([row[x.base_asset] for x in listings])
        self._quote = np.array([row[x.quote_asset] for x in listings])
        self._whole_market = row[""]
        self._asset_keys = _keys(seed, [asset.name for asset in assets], ASSET_NOISE)
        self._asset_price = _column(np.log([asset.usd for asset in assets]))
        self._asset_volatility = _column([asset.volatility for asset in assets])
        self._beta = _column([asset.beta for asset in assets])
        self._keys = _keys(seed, [x.symbol for x in listings], MARKET_NOISE)
        self._turnover = _column([x.turnover for x in listings])
        self._quiet = _column([x.quiet for x in listings])
        self._price_scale = 10.0 ** _column([x.price_decimals for x in listings])
        self._volume_scale = 10.0 ** _column([x.volume_decimals for x in listings])

    def minutes(self, markets: Places, first: int, number: int) -> Float64s:
        """Open, high, low, close, volume of `number` minutes from `first` on: an (s, number, 5) array."""
        # Thin markets repeat the last close, so they need the minutes before.
        before = QUIET_BLOCK if self._quiet[markets].any() else 0
        candles = self._traded(markets, first - before, number + before)
        if before:
            self._silence(candles, markets, first - before)
        return candles[:, before:]

    def path(self, markets: Places, minute: int) -> Float64s:
        """How the price moves within a minute: (s, 3) of which extreme comes first (low below 0.5), and when each."""
        hashed = uniform(self._key("path", markets), np.arange(3 * minute, 3 * minute + 3))
        return hashed * [1.0, 0.3, 0.3] + [0.0, 0.1, 0.6]

    def _traded(self, markets: Places, first: int, number: int) -> Float64s:
        times = np.arange(first, first + number + 1)
        edges, spread = self._edges(markets, times)
        start, end, spread = edges[:, :-1], edges[:, 1:], spread[:, :-1]
        minutes = times[:-1]
        above = uniform(self._key("above", markets), minutes)
        below = uniform(self._key("below", markets), minutes)
        highest = np.maximum(start, end) + spread * above * above
        lowest = np.minimum(start, end) - spread * below * below
        scale = self._price_scale[markets]
        candles = np.empty((len(markets), number, 5))
        for column, values in ((OPEN, start), (HIGH, highest), (LOW, lowest), (CLOSE, end)):
            # At least one step: a price is never zero.
            candles[:, :, column] = np.maximum(np.rint(np.exp(values) * scale), 1.0) / scale
        crowd = value_noise(self._key("crowd", markets), minutes, 45)
        crowd += 0.6 * value_noise(self._key("surge", markets), minutes, 5)
        busy = 0.5 + np.abs(end - start) / spread + uniform(self._key("trades", markets), minutes)
        volume = self._turnover[markets] * np.exp(crowd) * busy / candles[:, :, CLOSE]
        scale = self._volume_scale[markets]
        candles[:, :, VOLUME] = np.maximum(np.rint(volume * scale), 1.0) / scale
        return candles

    def _edges(self, markets: Places, times: Integers) -> tuple[Float64s, Float64s]:
        """The log prices at the minutes' edges, and how far prices swing within a minute: two (s, n) arrays."""
        assets, places = np.unique((self._base[markets], self._quote[markets]), return_inverse=True)
        base, quote = places.reshape(2, -1)
        moves, swings = self._moves(assets, times)
        whole_market, _ = self._moves(np.array([self._whole_market]), times)
        log_price = self._asset_price[assets] + moves + self._beta[assets] * whole_market
        own = OWN_NOISE * value_noise(self._key("own", markets), times, 3)
        return log_price[base] - log_price[quote] + own, swings[base] + swings[quote] + OWN_NOISE

    def _moves(self, assets: Places, times: Integers) -> tuple[Float64s, Float64s]:
        """Moves of the assets' log prices around their base prices, and how wild each minute is: two (a, n) arrays."""
        keys = self._asset_keys[assets][:, :, None]
        noise = dict(zip(ASSET_NOISE, np.moveaxis(keys, 1, 0), strict=True))
        wildness = self._asset_volatility[assets] * np.exp(0.9 * value_noise(noise["regime"], times, REGIME_SPAN))
        fast = np.zeros((len(assets), len(times)))
        slow = np.zeros_like(fast)
        for span in SPANS:
            part = fast if span <= FAST_SPAN else slow
            part += value_noise(noise[span], times, span) * np.sqrt(span)
        moves = fast * wildness + slow * self._asset_volatility[assets]
        is_free = self._asset_volatility[assets] > MONEY_VOLATILITY
        return moves + is_free * _jumps(noise, times), wildness

    def _silence(self, candles: Float64s, markets: Places, first: int) -> None:
        """Makes the minutes without trades flat at the last close, with no volume."""
        minutes = np.arange(first, first + candles.shape[1])
        is_quiet = uniform(self._key("quiet", markets), minutes) < self._quiet[markets]
        is_quiet &= minutes % QUIET_BLOCK != 0
        last_traded = np.maximum.accumulate(np.where(is_quiet, 0, np.arange(len(minutes))), axis=1)
        close = np.take_along_axis(candles[:, :, CLOSE], last_traded, axis=1)
        for column in (OPEN, HIGH, LOW, CLOSE):
            np.copyto(candles[:, :, column], close, where=is_quiet)
        np.copyto(candles[:, :, VOLUME], 0.0, where=is_quiet)

    def _key(self, name: str, markets: Places) -> Keys:
        return self._keys[markets, MARKET_NOISE.index(name), None]


def _jumps(noise: dict[str | int, Keys], times: Integers) -> Float64s:
    """Now and then a step of some per cent, which fades until the end of its cell."""
    cells, within = np.divmod(times, JUMP_SPAN)
    first = int(cells[0])
    lattice = np.arange(first, int(cells[-1]) + 1)
    size = uniform(noise["jump size"], lattice) * 2.0 - 1.0
    size = size**3 * 0.06 * (uniform(noise["jump"], lattice) < JUMP_SHARE)
    place = np.floor(uniform(noise["jump place"], lattice) * 700.0)
    size, place = size[:, cells - first], place[:, cells - first]
    return np.where(within >= place, size * (JUMP_SPAN - within) / (JUMP_SPAN - place), 0.0)


def _keys(seed: int, owners: Sequence[str], noises: Sequence[str | int]) -> Keys:
    """One key for each owner and kind of noise."""
    return np.array([[_hashed(f"{seed}:{owner}:{noise}") for noise in noises] for owner in owners], dtype=np.uint64)


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _column(values: npt.ArrayLike) -> Float64s:
    return np.asarray(values, dtype=np.float64)[:, None]
