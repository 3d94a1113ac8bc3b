"""Metric families in one line each."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric


def gauge(name: str, text: str, value: float | None) -> list[Metric]:
    """A value that goes up and down; none where it is not known."""
    return [] if value is None else [GaugeMetricFamily(f"boritrader_{name}", text, value=value)]


def gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> list[Metric]:
    """The same, one for each value of a label."""
    family = GaugeMetricFamily(f"boritrader_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return [family]


def counter(name: str, text: str, value: float) -> list[Metric]:
    """A value that only grows until it begins anew; `_total` is put behind its name."""
    return [CounterMetricFamily(f"boritrader_{name}", text, value=value)]


def counters(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> list[Metric]:
    """The same, one for each combination of labels."""
    family = CounterMetricFamily(f"boritrader_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key), value)
    return [family]
