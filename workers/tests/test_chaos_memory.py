"""What the lives of a process say of its memory."""

from __future__ import annotations

from workers.chaos.memory import WARM_AFTER, Sample, usage_of


def life(*, begins: float, minutes: int, mb: float, growth: float) -> list[Sample]:
    """A process that loads for three minutes, from 40 MB, and then grows by so many MB a minute. A sample every 10 s."""
    ages = range(20, minutes * 60, 10)
    return [(begins + age, age, 40 if age < WARM_AFTER else mb + growth * (age - WARM_AFTER) / 60) for age in ages]


def test_what_it_loads_at_its_start_is_no_growth() -> None:
    usage = usage_of("web", [life(begins=0, minutes=20, mb=100, growth=0)])

    assert (usage.first, usage.last, usage.most, round(usage.slope, 6)) == (100, 100, 100, 0)


def test_growth_is_seen_from_the_first_warm_minute_to_the_last_and_by_the_minute() -> None:
    usage = usage_of("web", [life(begins=0, minutes=24, mb=100, growth=1), life(begins=0, minutes=2, mb=0, growth=0)])

    assert 19 < usage.last - usage.first < 21
    assert 0.99 < usage.slope < 1.01


def test_a_process_that_was_never_warm_has_a_size_and_no_growth() -> None:
    usage = usage_of("worker-sweep", [life(begins=0, minutes=2, mb=0, growth=0)])

    assert (usage.first, usage.last, usage.most, usage.slope, usage.minutes) == (40, 40, 40, 0.0, 0.0)
