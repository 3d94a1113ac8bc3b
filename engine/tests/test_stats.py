"""The statistics of outcomes against other people's: empyrical and scipy, published tables, plain Python, and by hand."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import fields

import empyrical
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from engine.candles import Float64s
from engine.stats import (
    BIN,
    FEW,
    HIGHEST_BIN,
    LOWEST_BIN,
    Tally,
    apart,
    bin_of,
    buy_return,
    distribution,
    hit_interval,
    median_of,
    sell_return,
    summarise,
    total,
)

FEE = 0.001
HOUR = 3_600_000
NOON = 1_800_000_000_000  # ms since 1970
Span = tuple[int, int]

bounded = settings(max_examples=150, deadline=None, derandomize=True)
returns = st.lists(st.floats(-0.99, 0.99), min_size=1, max_size=80)


def array(*values: float) -> Float64s:
    return np.array(values, dtype=np.float64)


def tally_of(net: Sequence[float], hold: Sequence[float] | None = None, apart: int | None = None) -> Tally:
    """A tally of these net returns. The first `apart` of them (all, unless said) do not overlap."""
    is_apart = np.arange(len(net)) < (len(net) if apart is None else apart)
    return Tally.of(array(*net), array(*(net if hold is None else hold)), is_apart)


def drawn(count: int, seed: int = 1) -> Float64s:
    """Net returns as a market gives them: mostly small, a few large, after fees."""
    random = np.random.default_rng(seed)
    return np.clip(random.standard_t(3, count) * 0.01 - 2 * FEE, -0.9, 0.9)


def chosen(groups: Sequence[Sequence[Span]], free_from: Sequence[int] | None = None) -> list[list[Span]]:
    """The spans of each group that `apart` chooses."""
    rows = [(number, *span) for number, spans in enumerate(groups) for span in sorted(spans)]
    group, entry, exit_ = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    free = None if free_from is None else np.array(free_from, dtype=np.int64)[group]
    is_chosen = apart(group, entry, exit_, free)
    found: list[list[Span]] = [[] for _ in groups]
    for (number, *span), is_one in zip(rows, is_chosen, strict=True):
        if is_one:
            found[number].append((span[0], span[1]))
    return found


def one_after_another(spans: Sequence[Span], free_from: int = 0) -> list[Span]:
    """The definition, by hand: whoever begins when nothing chosen is still running is chosen."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if begin >= (found[-1][1] if found else free_from):
            found.append((begin, end))
    return found


# --- The return of one ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "exit_", "buy", "sell"),
    [
        # BUY: 1,000 buy 10, less 0.01 are 9.99, sold for 1,098.90, less 1.0989 are 1,097.8011.
        # SELL: 10 are sold for 1,000, less 1 are 999, which buy 9.0818..., less a thousandth.
        (100.0, 110.0, 0.097_801_1, 999 / 110 * 0.999 / 10 - 1),
        # BUY: 9.99 are sold for 799.20, less 0.7992. SELL: 999 buy 12.4875, less 0.0124875 are 12.4750125.
        (100.0, 80.0, -0.201_599_2, 0.247_501_25),
        # Nothing moved: both fees are lost, 1,000 -> 999 -> 998.001.
        (100.0, 100.0, -0.001_999, -0.001_999),
        # Doubled: a SELL's holder could buy back a half, less fees: 4.995, less 0.004995 are 4.990005 of 10 before.
        (100.0, 200.0, 0.996_002, -0.500_999_5),
        # A price of a coin worth next to nothing is a price like any other.
        (1e-8, 2e-8, 0.996_002, -0.500_999_5),
    ],
)
def test_a_fee_is_taken_from_what_is_received_both_times(entry: float, exit_: float, buy: float, sell: float) -> None:
    assert buy_return(array(entry), array(exit_), FEE)[0] == pytest.approx(buy, abs=1e-15)
    assert sell_return(array(entry), array(exit_), FEE)[0] == pytest.approx(sell, abs=1e-15)


def test_a_sell_can_lose_no_more_than_all_and_is_no_short() -> None:
    """A short sale of what then trebles loses twice what it sold; what was avoided is a gain of 200 % not had."""
    found = sell_return(array(100.0, 100.0), array(300.0, 1e6), 0.0)

    assert found.tolist() == pytest.approx([-2 / 3, -0.9999])


def test_without_a_fee_a_buy_is_the_simple_return_of_the_prices() -> None:
    prices: Float64s = 100 * np.cumprod(1 + drawn(200), dtype=np.float64)

    found = buy_return(prices[:-1], prices[1:], 0.0)

    np.testing.assert_allclose(found, empyrical.simple_returns(prices), rtol=1e-9, atol=1e-13)


@bounded
@given(entry=st.floats(1e-8, 1e6), growth=st.floats(0.01, 100), fee=st.floats(0, 0.05))
def test_a_sell_has_the_log_return_of_a_buy_with_its_sign_reversed_less_fees(
    entry: float, growth: float, fee: float
) -> None:
    buy, sell = (one(array(entry), array(entry * growth), fee)[0] for one in (buy_return, sell_return))

    fees = 2 * math.log(1 - fee)
    assert math.log1p(sell) - fees == pytest.approx(-(math.log1p(buy) - fees), abs=1e-12)
    assert math.log1p(buy) - fees == pytest.approx(math.log(growth), abs=1e-12)


# --- Spans that do not overlap ----------------------------------------------------------------------------------------


def test_spans_that_overlap_the_one_before_are_passed_over() -> None:
    spans = [(NOON + minutes * 60_000, NOON + minutes * 60_000 + HOUR) for minutes in (0, 10, 59, 61, 100, 121, 300)]

    assert chosen([spans]) == [[spans[0], spans[3], spans[5], spans[6]]]


def test_a_span_may_begin_in_the_very_instant_another_ends() -> None:
    first, touching, overlapping = (NOON, NOON + HOUR), (NOON + HOUR, NOON + 2 * HOUR), (NOON + HOUR - 1, NOON + HOUR)

    assert chosen([[first, touching]]) == [[first, touching]]
    assert chosen([[first, overlapping, touching]]) == [[first, touching]]


def test_of_spans_that_begin_together_one_is_chosen() -> None:
    span = (NOON, NOON + HOUR)

    assert chosen([[span, span, span]]) == [[span]]


def test_a_span_carried_over_from_before_holds_up_those_of_its_own_group_only() -> None:
    spans = [(NOON, NOON + HOUR), (NOON + HOUR, NOON + 2 * HOUR)]

    assert chosen([spans, spans, spans], [0, NOON + 1, NOON + HOUR]) == [spans, spans[1:], spans[1:]]
    assert chosen([spans, spans], [NOON + 2 * HOUR, NOON]) == [[], spans]


def test_groups_do_not_see_each_other() -> None:
    spans = [(NOON, NOON + 24 * HOUR)]

    assert chosen([spans] * 2_000) == [spans] * 2_000


def test_no_spans_are_no_choice() -> None:
    nothing = np.array([], dtype=np.int64)

    assert apart(nothing, nothing, nothing).tolist() == []
    assert apart(nothing, nothing, nothing, nothing).tolist() == []


@pytest.mark.timeout(20)
def test_a_span_without_length_holds_up_nobody() -> None:
    spans = [(NOON, NOON), (NOON, NOON + HOUR), (NOON + HOUR, NOON + HOUR), (NOON + HOUR, NOON + 2 * HOUR)]

    assert chosen([spans]) == [spans] == [one_after_another(spans)]


some_spans = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda one: (NOON + one[0], NOON + one[0] + one[1])),
    max_size=25,
)


@bounded
@given(st.lists(st.tuples(some_spans, st.integers(0, 70)), min_size=1, max_size=5))
def test_the_choice_is_that_of_the_definition_disjoint_and_complete(groups: list[tuple[list[Span], int]]) -> None:
    spans, free_from = [one for one, _ in groups], [NOON + free for _, free in groups]

    found = chosen(spans, free_from)

    assert found == [one_after_another(one, free) for one, free in zip(spans, free_from, strict=True)]
    assert chosen(spans) == [one_after_another(one) for one in spans]
    for these, candidates, free in zip(found, spans, free_from, strict=True):
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(these))
        for begin, _ in candidates:  # whoever was passed over began while a chosen one was running
            assert begin < free or any(start <= begin < end for start, end in these)


@bounded
@given(st.lists(st.integers(0, 40), max_size=9), st.integers(1, 12))
def test_of_spans_of_one_length_no_choice_has_more(begins: list[int], length: int) -> None:
    spans = [(NOON + begin, NOON + begin + length) for begin in sorted(begins)]

    most = max(
        sum(is_in)
        for is_in in itertools.product((False, True), repeat=len(spans))
        if all(before[1] <= after[0] for before, after in itertools.pairwise(itertools.compress(spans, is_in)))
    )

    assert len(chosen([spans])[0]) == most


# --- The interval of a hit rate ---------------------------------------------------------------------------------------

# The score interval without continuity correction in Newcombe (1998), Statistics in Medicine 17, table I, method 3.
NEWCOMBE = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
# Some of fifty, none and all of a few, as any calculator of Wilson's interval gives them.
MORE = [(15, 50, 0.1910, 0.4375), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)]


@pytest.mark.parametrize(("hits", "count", "low", "high"), NEWCOMBE + MORE)
def test_the_interval_is_the_published_one(hits: int, count: int, low: float, high: float) -> None:
    assert hit_interval(hits, count) == pytest.approx((low, high), abs=5.1e-5)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 30, 263, 10_000])
def test_the_interval_is_scipys(count: int) -> None:
    for hits in {0, 1, count // 3, count // 2, count - 1, count}:
        theirs = binomtest(hits, count).proportion_ci(0.95, "wilson")

        assert hit_interval(hits, count) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (1, 29), (15, 50), (299, 300), (10, 10)])
def test_at_its_ends_the_rate_is_just_as_improbable_as_the_level_says(hits: int, count: int) -> None:
    """Wilson's own derivation: the true rates from which the observed one is 1.96 standard errors away, by bisection."""
    z, rate = statistics.NormalDist().inv_cdf(0.975), hits / count

    def is_near(truth: float) -> bool:
        return abs(rate - truth) < z * math.sqrt(truth * (1 - truth) / count)

    def end(inside: float, outside: float) -> float:
        if inside == outside:
            return outside
        for _ in range(100):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if is_near(middle) else (inside, middle)
        return outside

    assert hit_interval(hits, count) == pytest.approx((end(rate, 0.0), end(rate, 1.0)), abs=1e-9)


@bounded
@given(st.integers(1, 5_000).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_the_interval_contains_the_rate_and_lies_between_none_and_all(pair: tuple[int, int]) -> None:
    hits, count = pair

    low, high = hit_interval(hits, count)

    assert 0 <= low <= hits / count <= high <= 1
    assert low < high
    assert hit_interval(count - hits, count) == pytest.approx((1 - high, 1 - low), abs=1e-12)


# --- The record of many -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [30, 31, 1_000, 20_000])
def test_the_measures_are_empyricals(count: int) -> None:
    net, hold = drawn(count), drawn(count, seed=2)

    found = summarise(Tally.of(net, hold, np.ones(count, dtype=np.bool_)))

    assert found.strength == pytest.approx(empyrical.sharpe_ratio(net, annualization=1), rel=1e-9)
    assert found.mean is not None
    assert found.mean / (found.strength or 0) == pytest.approx(empyrical.annual_volatility(net, annualization=1))
    assert found.hit_rate == empyrical.batting_average(net, np.zeros(count))["batting average"]
    assert math.expm1(found.log_sum) == pytest.approx(empyrical.cum_returns_final(net), rel=1e-9)
    assert found.median == pytest.approx(empyrical.value_at_risk(net, 0.5), abs=BIN)
    assert found.worst == empyrical.value_at_risk(net, 0.0)
    assert found.best == empyrical.value_at_risk(net, 1.0)


@pytest.mark.parametrize("count", [1, 2, 29, 30, 1_001])
def test_the_measures_are_those_of_plain_python(count: int) -> None:
    net, hold = drawn(count).tolist(), drawn(count, seed=2).tolist()
    few = max(1, count // 2)

    found = summarise(tally_of(net, hold, apart=few))

    assert (found.calls, found.scored, found.apart, found.is_few) == (count, count, few, few < 30)
    assert found.hit_rate == sum(one > 0 for one in net[:few]) / few
    assert (found.hit_low, found.hit_high) == hit_interval(sum(one > 0 for one in net[:few]), few)
    assert found.mean == pytest.approx(statistics.fmean(net), abs=1e-15)
    assert found.hold_mean == pytest.approx(statistics.fmean(hold), abs=1e-15)
    assert found.median == pytest.approx(statistics.median(net), abs=BIN)
    assert (found.worst, found.best) == (min(net), max(net))
    assert found.net_sum == pytest.approx(math.fsum(net), abs=1e-15)
    assert found.log_sum == pytest.approx(math.fsum(math.log(1 + one) for one in net), abs=1e-12)
    if few >= 30:
        assert found.strength == pytest.approx(statistics.fmean(net) / statistics.stdev(net), rel=1e-9)


def test_a_record_worked_out_by_hand() -> None:
    """Four calls: 2 %, -1 %, 0 and 3 %, the last over the span of the third; one unscorable, two pending."""
    tally = Tally.of(
        array(0.02, -0.01, 0.0, 0.03), array(0.02, 0.01, -0.02, 0.03), np.array([True, True, True, False]), 1, 2
    )

    found = summarise(tally)

    assert (tally.hits, tally.apart, tally.apart_hits) == (2, 3, 1)  # a return of 0 is no hit
    assert (found.calls, found.scored, found.unscorable, found.pending) == (7, 4, 1, 2)
    assert found.hit_rate == 1 / 3
    assert found.mean == pytest.approx(0.01)
    assert found.hold_mean == pytest.approx(0.01)
    assert (found.worst, found.best) == (-0.01, 0.03)
    assert found.net_sum == pytest.approx(0.04)
    assert found.log_sum == pytest.approx(math.log(1.02 * 0.99 * 1.03))
    assert tally.bins == {200: 1, -100: 1, 0: 1, 300: 1}
    assert found.median == pytest.approx(0.01, abs=BIN)
    assert (found.is_few, found.strength, found.confidence_score) == (True, None, None)


def test_under_thirty_calls_that_do_not_overlap_nothing_is_said_of_strength() -> None:
    net = drawn(500)

    enough, few = (summarise(tally_of(net.tolist(), apart=count)) for count in (FEW, FEW - 1))

    assert (FEW, enough.is_few, few.is_few) == (30, False, True)
    assert enough.strength == pytest.approx(statistics.fmean(net) / statistics.stdev(net), rel=1e-9)
    assert enough.confidence_score == enough.hit_low
    assert (few.strength, few.confidence_score) == (None, None)
    assert few.hit_low is not None  # the interval says by its width how little it is


@pytest.mark.parametrize("value", [0.01, -0.002, 1 / 3, 1e-9, 0.0])
@pytest.mark.parametrize("count", [30, 1_000, 99_999])
def test_equal_returns_have_no_deviation_and_so_no_strength(value: float, count: int) -> None:
    found = summarise(tally_of([value] * count))

    assert found.strength is None
    assert found.mean == pytest.approx(value)
    assert (found.worst, found.best) == (value, value)


def test_a_deviation_much_smaller_than_the_mean_is_still_seen() -> None:
    net = np.array([0.02, 0.02 + 2e-6] * 50)

    found = summarise(tally_of(net.tolist()))

    assert found.strength == pytest.approx(empyrical.sharpe_ratio(net, annualization=1), rel=1e-5)


@pytest.mark.parametrize("tally", [Tally(), total([]), tally_of([]), Tally() + Tally()])
def test_nothing_scored_is_nothing_said(tally: Tally) -> None:
    found = summarise(tally)

    said = {field.name: getattr(found, field.name) for field in fields(found)}
    assert [said.pop(name) for name in ("calls", "scored", "unscorable", "pending", "apart")] == [0] * 5
    assert [said.pop(name) for name in ("net_sum", "log_sum", "is_few")] == [0, 0, True]
    assert set(said.values()) == {None}
    assert distribution(tally, [-1, 0, 1]) == [0, 0, 0, 0]


def test_what_is_unscorable_or_pending_is_counted_and_enters_nothing_else() -> None:
    net = drawn(40)
    all_apart = np.ones(40, dtype=np.bool_)

    alone, with_others = Tally.of(net, net, all_apart), Tally.of(net, net, all_apart, 7, 5)
    only_others = Tally.of(net[:0], net[:0], all_apart[:0], 7, 5)

    assert (summarise(with_others).calls, summarise(only_others).calls) == (52, 12)
    assert alone + only_others == with_others


# --- The median and the distribution ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "median"),
    [
        ([0.00015], 0.00015),
        ([-0.00015], -0.00015),  # down, not towards zero
        ([0.00015, 0.00115], 0.00065),
        ([0.00015, 0.00115, 0.5], 0.00115),
        ([-0.5, 0.00015, 0.00115, 0.5], 0.00065),
        ([0.00015, 0.00015, 0.00115, 0.00115], 0.00065),
        ([0.00115, 0.00015, 0.00015], 0.00015),
        # Beyond a doubling all lie in one bin, and a loss of everything lies in the lowest.
        ([5.0, 6.0, 7.0], 1.00005),
        ([1.0], 1.00005),
        ([0.0, 9.0], 0.50005),
        ([-1 + 1e-9], -0.99995),
    ],
)
def test_the_median_is_the_middle_of_its_bin(net: list[float], median: float) -> None:
    assert median_of(tally_of(net)) == pytest.approx(median, abs=1e-12)


@bounded
@given(returns)
def test_the_median_is_numpys_to_half_a_basis_point(net: list[float]) -> None:
    assert median_of(tally_of(net)) == pytest.approx(float(np.median(net)), abs=BIN / 2 * (1 + 1e-9))


def test_a_return_of_whole_basis_points_begins_its_bin() -> None:
    numbers = np.arange(LOWEST_BIN, HIGHEST_BIN + 1)

    np.testing.assert_array_equal(bin_of(numbers / 10_000), numbers)
    np.testing.assert_array_equal(bin_of(np.array([float(f"{number}e-4") for number in numbers])), numbers)


def test_what_lies_beyond_the_bins_is_in_the_outermost() -> None:
    assert bin_of(array(-1.0, 1.0, 1.5, 1e9)).tolist() == [LOWEST_BIN, HIGHEST_BIN, HIGHEST_BIN, HIGHEST_BIN]


def test_a_return_on_an_edge_belongs_to_the_bar_it_begins() -> None:
    net = [-0.0050, -0.0025, -0.0001, 0.0, 0.0024, 0.0025, 0.0049, 0.0050, 9.0]

    assert distribution(tally_of(net), [-50, -25, 0, 25, 50]) == [0, 1, 2, 2, 2, 2]
    assert distribution(tally_of(net), []) == [9]
    assert distribution(tally_of(net), [0]) == [3, 6]


@bounded
@given(returns, st.lists(st.integers(-300, 300), min_size=2, max_size=12, unique=True).map(sorted))
def test_the_distribution_is_numpys_histogram_with_what_lies_beyond(net: list[float], edges: list[int]) -> None:
    found = distribution(tally_of(net), edges)

    bounds = [-math.inf, *(edge / 10_000 for edge in edges), math.inf]
    assert found == [sum(low <= one < high for one in net) for low, high in itertools.pairwise(bounds)]
    assert found[1:-1] == np.histogram([one for one in net if one < bounds[-2]], bounds[1:-1])[0].tolist()
    assert sum(found) == len(net)


# --- The whole and its parts ------------------------------------------------------------------------------------------


def assert_same(one: Tally, other: Tally) -> None:
    """Counts, extremes and bins exactly, sums but for rounding."""
    for field in fields(Tally):
        ours, theirs = getattr(one, field.name), getattr(other, field.name)
        if field.name in {"net_sum", "net_squares", "log_sum", "hold_sum"}:
            assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-12), field.name
        else:
            assert ours == theirs, field.name


rows = st.lists(st.tuples(st.floats(-0.99, 5.0), st.floats(-0.99, 5.0), st.booleans()), max_size=60)
parts = st.lists(st.tuples(rows, st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=6)
Part = tuple[list[tuple[float, float, bool]], int, int]


def tally_of_part(part: Part) -> Tally:
    outcomes, unscorable, pending = part
    net, hold, is_apart = (
        np.array([row[place] for row in outcomes], dtype=kind) for place, kind in enumerate((float, float, bool))
    )
    return Tally.of(net, hold, is_apart, unscorable, pending)


@bounded
@given(parts, st.randoms(use_true_random=False))
def test_the_record_of_all_is_the_records_of_the_parts_in_whatever_order(divided: list[Part], random: object) -> None:
    tallies = [tally_of_part(part) for part in divided]
    whole = tally_of_part(
        (
            [row for part in divided for row in part[0]],
            sum(part[1] for part in divided),
            sum(part[2] for part in divided),
        )
    )
    shuffled = tallies.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert_same(total(tallies), whole)
    assert_same(total(shuffled), whole)
    assert_same(sum(shuffled, Tally()), whole)  # two at a time
    assert_same(total([total(tallies[:2]), total(tallies[2:])]), whole)


@bounded
@given(parts)
def test_what_is_said_of_all_is_said_of_the_parts_together(divided: list[Part]) -> None:
    together = summarise(total([tally_of_part(part) for part in divided]))

    net = [row[0] for part in divided for row in part[0]]
    is_apart = [row[2] for part in divided for row in part[0]]
    hits = sum(value > 0 for value, is_one in zip(net, is_apart, strict=True) if is_one)
    assert together.calls == len(net) + sum(unscorable + pending for _, unscorable, pending in divided)
    assert together.mean == (pytest.approx(statistics.fmean(net), abs=1e-12) if net else None)
    assert together.hit_rate == (hits / sum(is_apart) if any(is_apart) else None)


@bounded
@given(returns, st.data())
def test_splitting_a_period_never_changes_the_sum_of_net_log_returns(net: list[float], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(net)), max_size=5)))
    bounds = [0, *cuts, len(net)]

    pieces = [net[start:end] for start, end in itertools.pairwise(bounds)]

    growth = [math.prod(1 + one for one in piece) for piece in pieces]
    split = [tally_of(piece).log_sum for piece in pieces]
    assert split == pytest.approx([math.log(one) for one in growth], rel=1e-9, abs=1e-9)
    assert tally_of(net).log_sum == pytest.approx(math.log(math.prod(growth)), rel=1e-9, abs=1e-9)
    assert total([tally_of(piece) for piece in pieces]).log_sum == pytest.approx(tally_of(net).log_sum, abs=1e-12)


@bounded
@given(st.lists(st.floats(0.01, 1e5), min_size=2, max_size=40), st.floats(0, 0.02))
def test_a_span_held_in_pieces_gives_the_whole_less_the_fees_of_the_pieces(prices: list[float], fee: float) -> None:
    line = np.array(prices)
    pieces = buy_return(line[:-1], line[1:], fee)
    whole = buy_return(line[:1], line[-1:], fee)

    more_fees = (len(pieces) - 1) * 2 * math.log(1 - fee)
    assert tally_of(pieces.tolist()).log_sum == pytest.approx(tally_of(whole.tolist()).log_sum + more_fees, abs=1e-9)
