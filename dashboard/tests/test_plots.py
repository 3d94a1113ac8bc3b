from __future__ import annotations

import pytest

from dashboard.numbers import iso, measure, price, second, share, signed_percent, whole
from dashboard.plots import BOTTOM, TOP, histogram, lines, month_bars, nice_steps, reach, whisker
from dashboard.tests.records import BAD, FEW_CALLS, GOOD, document, row
from engine.stats import Tally
from signals.services.record import DayJson, DistributionJson

DAY = 86_400_000


@pytest.mark.parametrize(
    ("low", "high", "steps"),
    [
        (0, 4, [0, 1, 2, 3, 4]),
        (-0.3, 0.9, [-0.5, 0, 0.5, 1]),
        (0, 7_321, [0, 2_000, 4_000, 6_000, 8_000]),
        (-0.00021, 0, [-0.0003, -0.0002, -0.0001, 0]),
    ],
)
def test_an_axis_has_round_numbers_that_hold_all_values(low: float, high: float, steps: list[float]) -> None:
    assert nice_steps(low, high) == pytest.approx(steps)


def test_bars_are_losses_below_zero_and_gains_above_it() -> None:
    plot = histogram(DistributionJson([-100, 0, 100], [1, 4, 2, 0]))

    assert plot is not None
    assert [bar.kind for bar in plot.bars] == ["loss", "loss", "gain", "gain"]
    assert [bar.title for bar in plot.bars] == [
        "below \u22121.0\u00a0%: 1 calls",
        "\u22121.0\u00a0% to 0: 4 calls",
        "0 to +1.0\u00a0%: 2 calls",
        "+1.0\u00a0% and more: 0 calls",
    ]
    assert (plot.losses, plot.gains, plot.zero) == (5, 2, 50)
    assert plot.bars[1].height == pytest.approx(BOTTOM - TOP)  # four of at most four
    assert plot.bars[3].height == 0


def test_every_bar_lies_inside_of_its_drawing() -> None:
    plot = histogram(document().distribution)

    assert plot is not None
    for bar in plot.bars:
        assert bar.x >= 0
        assert bar.x + bar.width <= 100
        assert bar.y >= TOP - 0.01
        assert bar.y + bar.height <= BOTTOM + 0.01


def test_what_holds_nothing_is_not_drawn() -> None:
    assert histogram(DistributionJson([0], [0, 0])) is None
    assert lines([]) is None
    assert month_bars([]) is None
    assert month_bars([row("2026-11", Tally(pending=3))]) is None


def test_the_cumulative_lines_begin_at_nothing_and_end_at_their_sums() -> None:
    plot = lines([DayJson(0, 1.0, -1.0), DayJson(DAY, 2.0, 0.0)])

    assert plot is not None
    assert plot.net == "M0.0,60.33 L50.0,32.67 L100.0,5.0"
    assert plot.hold == "M0.0,60.33 L50.0,88.0 L100.0,60.33"
    assert plot.zero == 60.33
    assert [tick.label for tick in plot.side] == ["\u2212100\u00a0%", "0", "+100\u00a0%", "+200\u00a0%"]
    assert [tick.anchor for tick in plot.below] == ["start", "end"]


def test_a_single_flat_day_has_a_scale_too() -> None:
    plot = lines([DayJson(0, 0.0, 0.0)])

    assert plot is not None
    assert plot.net == f"M0.0,{BOTTOM} L100.0,{BOTTOM}"


def test_months_hang_from_zero_and_a_month_with_few_calls_says_so() -> None:
    plot = month_bars([row("2026-09", FEW_CALLS), row("2026-10", BAD), row("2026-11", GOOD)])

    assert plot is not None
    few, bad, good = plot.bars
    assert (few.kind, bad.kind, good.kind) == ("few", "loss", "gain")
    assert "too few to say" in few.title
    assert bad.y == plot.zero
    assert good.y + good.height == pytest.approx(plot.zero)
    assert [tick.label for tick in plot.below] == ["Sep 26", "Oct 26", "Nov 26"]
    assert len(plot.marks) == 3


def test_many_months_have_few_labels() -> None:
    plot = month_bars([row(f"{2020 + number // 12}-{number % 12 + 1:02}", GOOD) for number in range(60)])

    assert plot is not None
    assert len(plot.bars) == 60
    assert len(plot.below) == 6


@pytest.mark.parametrize(
    ("interval", "kind"),
    [((0.51, 0.6), "gain"), ((0.4, 0.49), "loss"), ((0.45, 0.55), "open"), ((0.5, 0.6), "open")],
)
def test_a_whisker_says_on_which_side_of_a_half_all_of_it_lies(interval: tuple[float, float], kind: str) -> None:
    low, high = interval
    drawn = whisker(low, (low + high) / 2, high, reach([interval]))

    assert drawn.kind == kind
    assert 0 <= drawn.low < drawn.rate < drawn.high <= 100
    assert drawn.half == 50


def test_whiskers_share_a_scale_that_holds_all_of_them() -> None:
    assert reach([(0.48, 0.53), (0.31, 0.4)]) == pytest.approx(0.2)
    assert reach([(0.0, 1.0)]) == 0.5
    assert reach([]) == 0.05


def test_returns_have_a_sign_unless_they_round_to_nothing() -> None:
    values = (0.0123, -12.3456, 0.00004, -0.00004, 0.0, None)

    assert [signed_percent(value) for value in values] == [
        "+1.23\u00a0%",
        "\u22121,234.56\u00a0%",
        "0.00\u00a0%",
        "0.00\u00a0%",
        "0.00\u00a0%",
        "\u2013",
    ]


def test_numbers_are_written_as_people_read_them() -> None:
    assert share(0.4821) == "48.2\u00a0%"
    assert whole(1_234_567) == "1,234,567"
    assert price(64_123.4, 0.01) == "64,123.40"
    assert price(0.00001234, 1e-8) == "0.00001234"
    assert [measure(value) for value in (43.2345678, -0.000012345678, 1_234_567.8, 0.0, 20, None)] == [
        "43.2346",
        "\u22120.0000123457",
        "1,234,568",
        "0",
        "20",
        "\u2013",
    ]


def test_instants_are_exact_and_in_utc() -> None:
    at = 1_795_176_000_345

    assert second(at) == "2026-11-20 12:00:00.345"
    assert second(at - 345) == "2026-11-20 12:00:00"
    assert iso(at) == "2026-11-20T12:00:00.345Z"
    assert iso(None) == ""
