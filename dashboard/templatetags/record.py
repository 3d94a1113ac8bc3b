"""The numbers of the record, as filters."""

from __future__ import annotations

from django import template

from dashboard import numbers

register = template.Library()

for _words in (
    numbers.signed_percent,
    numbers.fee,
    numbers.share,
    numbers.whole,
    numbers.price,
    numbers.measure,
    numbers.second,
    numbers.minute,
    numbers.day,
    numbers.iso,
):
    register.filter(_words.__name__, _words)

register.simple_tag(numbers.interval)


@register.filter
def direction(value: float | None) -> str:
    """The class that colours a return: gain, loss or nothing."""
    if not value:
        return ""
    return "gain" if value > 0 else "loss"
