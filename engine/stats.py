"""What became of calls: the return of one, and the record of many. Pure functions; docs/RECORD.md says the same in words.

A return is a fraction (0.01 is one per cent) after fees. Nothing is annualised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engine.candles import Float64s
from engine.compare import Bools

Int64s = npt.NDArray[np.int64]

# Returns are counted in bins of one basis point, from the loss of everything to a doubling and beyond.
BIN = 1e-4
LOWEST_BIN, HIGHEST_BIN = -10_000, 10_000
_BEGINNINGS = np.arange(LOWEST_BIN, HIGHEST_BIN + 1) / 10_000
# 97.5 % of a normal distribution lie below so many standard deviations: intervals are of 95 %.
Z = 1.959963984540054
# Under so many calls whose spans do not overlap there is too little to say.
FEW = 30
# Wider than any instant in milliseconds since 1970: keeps the groups of a sorted key apart.
_WIDE = 1 << 43


def buy_return(entry: Float64s, exit_: Float64s, fee: float | Float64s) -> Float64s:
    """What a BUY gave: bought at `entry`, sold at `exit_`, `fee` (a fraction) taken from what is received, both times.

    The same prices held from entry to exit give it too: it is also buy and hold over that span.
    """
    return exit_ / entry * (1 - fee) ** 2 - 1


def sell_return(entry: Float64s, exit_: Float64s, fee: float | Float64s) -> Float64s:
    """What a SELL spared its holder: the move avoided. Sold at `entry`, bought back at `exit_`, `fee` taken both times.

    It is the growth of the amount held: the log return with its sign reversed, less fees. Never a short sale.
    """
    return entry / exit_ * (1 - fee) ** 2 - 1


def apart(group: Int64s, entry_at: Int64s, exit_at: Int64s, free_from: Int64s | None = None) -> Bools:
    """Of each group the spans that do not overlap: the first, then always the next one that begins after it has ended.

    `group` and, inside a group, `entry_at` ascend; instants are ms since 1970. `free_from`: per call, the end of the last
    span that was chosen of its group before these (0: none). A span may begin in the instant in which another ends.
    """
    chosen = np.zeros(len(group), dtype=np.bool_)
    if len(group) == 0:
        return chosen
    key = group * _WIDE + entry_at
    first = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    end = np.r_[first[1:], len(group)]
    # At least the next one: a span without length must not be followed by itself.
    following = np.maximum(np.searchsorted(key, group * _WIDE + exit_at), np.arange(1, len(group) + 1))
    at = first if free_from is None else np.searchsorted(key, group[first] * _WIDE + free_from[first])
    while True:  # one step of every group that is not through
        is_inside = at < end
        at, end = at[is_inside], end[is_inside]
        if len(at) == 0:
            return chosen
        chosen[at] = True
        at = following[at]


def hit_interval(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a hit rate (Wilson 1927, score interval without continuity correction); count above 0."""
    rate, share = hits / count, Z * Z / count
    centre = rate + share / 2
    half = Z * math.sqrt(rate * (1 - rate) / count + share / (4 * count))
    # The rate lies inside, and 0 and 1 are ends: rounding must not say otherwise.
    return min(rate, max(0.0, (centre - half) / (1 + share))), max(rate, min(1.0, (centre + half) / (1 + share)))


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts and sums of many outcomes. The tally of a whole is the sum of the tallies of its parts.

    `pending` calls have no outcome yet, `unscorable` ones never will: both are counted and enter nothing else. `apart` is how many of the scored do not overlap, and
    `apart_hits` how many of those were hits: a net return above zero. `bins` counts the scored by the basis point
    their net return falls into (the last bins hold all that lies beyond).
    """

    scored: int = 0
    unscorable: int = 0
    pending: int = 0
    hits: int = 0
    apart: int = 0
    apart_hits: int = 0
    net_sum: float = 0.0
    net_squares: float = 0.0
    log_sum: float = 0.0
    hold_sum: float = 0.0
    worst: float | None = None
    best: float | None = None
    bins: dict[int, int] = field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        return total([self, other])

    @classmethod
    def of(cls, net: Float64s, hold: Float64s, is_apart: Bools, unscorable: int = 0, pending: int = 0) -> Tally:
        """The tally of scored outcomes: their net returns, buy and hold over the same spans, which do not overlap."""
        if len(net) == 0:
            return cls(unscorable=unscorable, pending=pending)
        is_hit = net > 0
        bins, counts = np.unique(bin_of(net), return_counts=True)
        return cls(
            scored=len(net),
            unscorable=unscorable,
            pending=pending,
            hits=int(is_hit.sum()),
            apart=int(is_apart.sum()),
            apart_hits=int((is_hit & is_apart).sum()),
            net_sum=math.fsum(net),
            net_squares=math.fsum(net * net),
            log_sum=math.fsum(np.log1p(net)),
            hold_sum=math.fsum(hold),
            worst=float(net.min()),
            best=float(net.max()),
            bins=dict(zip(bins.tolist(), counts.tolist(), strict=True)),
        )


def bin_of(net: Float64s) -> Int64s:
    """The bin of each net return: bin b holds those from b to b + 1 basis points."""
    # Looked up, not divided by BIN, which would put 0.0003, the beginning of bin 3, below it.
    return np.maximum(np.searchsorted(_BEGINNINGS, net, side="right") - 1, 0) + LOWEST_BIN


def total(parts: Sequence[Tally]) -> Tally:
    """The sum of tallies."""
    bins: dict[int, int] = {}
    for part in parts:
        for number, count in part.bins.items():
            bins[number] = bins.get(number, 0) + count
    return Tally(
        scored=sum(part.scored for part in parts),
        unscorable=sum(part.unscorable for part in parts),
        pending=sum(part.pending for part in parts),
        hits=sum(part.hits for part in parts),
        apart=sum(part.apart for part in parts),
        apart_hits=sum(part.apart_hits for part in parts),
        net_sum=math.fsum(part.net_sum for part in parts),
        net_squares=math.fsum(part.net_squares for part in parts),
        log_sum=math.fsum(part.log_sum for part in parts),
        hold_sum=math.fsum(part.hold_sum for part in parts),
        worst=min((part.worst for part in parts if part.worst is not None), default=None),
        best=max((part.best for part in parts if part.best is not None), default=None),
        bins=bins,
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """What a tally says. Everything that rests on returns is None where nothing was scored.

    The hit rate and its 95 % interval are those of the calls that do not overlap; `is_few` where they are fewer than FEW.
    The median is exact to a basis point (of returns up to a doubling), all else to rounding. `strength` (mean over standard deviation of a net return)
    and `confidence_score` (the lower end of the interval) are None where there is too little to say.
    """

    calls: int
    scored: int
    unscorable: int
    pending: int
    apart: int
    is_few: bool
    hit_rate: float | None
    hit_low: float | None
    hit_high: float | None
    mean: float | None
    median: float | None
    worst: float | None
    best: float | None
    hold_mean: float | None
    net_sum: float
    log_sum: float
    strength: float | None
    confidence_score: float | None


def summarise(tally: Tally) -> Summary:
    """The measures of a record."""
    count = tally.scored
    is_few = tally.apart < FEW
    low, high = hit_interval(tally.apart_hits, tally.apart) if tally.apart else (None, None)
    return Summary(
        calls=count + tally.unscorable + tally.pending,
        scored=count,
        unscorable=tally.unscorable,
        pending=tally.pending,
        apart=tally.apart,
        is_few=is_few,
        hit_rate=tally.apart_hits / tally.apart if tally.apart else None,
        hit_low=low,
        hit_high=high,
        mean=tally.net_sum / count if count else None,
        median=median_of(tally),
        worst=tally.worst,
        best=tally.best,
        hold_mean=tally.hold_sum / count if count else None,
        net_sum=tally.net_sum,
        log_sum=tally.log_sum,
        strength=None if is_few else _strength(tally),
        confidence_score=None if is_few else low,
    )


def _strength(tally: Tally) -> float | None:
    count = tally.scored
    mean = tally.net_sum / count
    variance = (tally.net_squares - count * mean * mean) / (count - 1)
    # What rounding leaves of equal returns is no deviation.
    return mean / math.sqrt(variance) if variance > 1e-15 * tally.net_squares else None


def median_of(tally: Tally) -> float | None:
    """The median net return: the middle of the bin it lies in (of both, where an even count has two middle ones)."""
    if not tally.scored:
        return None
    numbers = sorted(tally.bins)
    upto = np.cumsum([tally.bins[number] for number in numbers])
    ranks = (tally.scored - 1) // 2, tally.scored // 2
    middle = [numbers[int(np.searchsorted(upto, rank, side="right"))] for rank in ranks]
    return (sum(middle) / 2 + 0.5) * BIN


def distribution(tally: Tally, edges: Sequence[int]) -> list[int]:
    """How many net returns lie below the first edge, between each two, and from the last one on; edges in basis points."""
    counts = [0] * (len(edges) + 1)
    for number, count in tally.bins.items():
        counts[int(np.searchsorted(edges, number, side="right"))] += count
    return counts
