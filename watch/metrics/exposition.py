"""All metrics as the text that Prometheus reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import chain

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from watch.metrics import database, process, stores
from watch.metrics.families import gauges
from watch.probe import Probe

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
Look = Callable[[], list[Metric]]
PARTS: dict[str, Look] = {
    "database": database.look,
    "live": stores.look_into_live,
    "broker": stores.look_into_broker,
}


class Metrics:
    """Looks at every part side by side, at most once a second. A part that is away lacks its metrics, and says so in
    `boritrader_up`. Belongs to one event loop."""

    def __init__(self, parts: dict[str, Look] | None = None) -> None:
        self._probes = {part: Probe(look, patience=3.0) for part, look in (parts or PARTS).items()}

    async def exposition(self) -> bytes:
        """The metrics, within three seconds."""
        answers = await asyncio.gather(*(probe.ask() for probe in self._probes.values()))
        named = dict(zip(self._probes, answers, strict=True))
        up = {part: float(answer.value is not None) for part, answer in named.items()}
        took = {part: answer.took for part, answer in named.items()}
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(
            Looked(
                chain(
                    gauges("up", "Whether a part answers.", "part", up),
                    gauges("look_seconds", "How long it took to answer.", "part", took),
                    process.look(),
                    *(answer.value or [] for answer in answers),
                )
            )
        )
        return generate_latest(registry)


class Looked(Collector):
    """Families that were looked up already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families
