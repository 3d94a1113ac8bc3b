"""Beat: django-celery-beat's scheduler on the market's clock, each message stamped with the instant it stands for."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from celery.schedules import crontab, schedule
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from market import clock
from signals.services.schedules import latest_instant
from watch.task_counters import counter

logger = logging.getLogger(__name__)


class MarketEntry(ModelEntry):  # type: ignore[misc]  # django-celery-beat has no types
    """A row whose schedule is read off the exchange's clock, so that a wrong clock of ours shifts no slot."""

    def __init__(self, model: Any, app: Any = None) -> None:
        super().__init__(model, app)
        # Of every kind: celery orders all rows by one clock, and last_run_at is written in it.
        if hasattr(self.schedule, "nowfun"):
            self.schedule.nowfun = self._default_now

    def _default_now(self) -> datetime:
        return clock.now()


class SlotScheduler(DatabaseScheduler):  # type: ignore[misc]
    """Stamps `slot` into the headers of every dispatch."""

    Entry = MarketEntry

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        # `reserve` has just noted when the row came due. Solar and clocked rows stand for no grid of instants.
        if isinstance(entry.schedule, (crontab, schedule)):
            slot = latest_instant(entry.schedule, at=entry.model.last_run_at)
            entry.options = entry.options | {"headers": entry.options.get("headers", {}) | {"slot": slot.isoformat()}}
        sent = super().apply_async(entry, producer=producer, advance=advance, **kwargs)
        counter.mark("beat")
        # What is sent every few seconds would fill the log.
        level = logging.DEBUG if entry.task == "signals.tasks.close_sweeps" else logging.INFO
        stamp = entry.options.get("headers", {}).get("slot", "")
        logger.log(level, "sent %s", entry.name, extra={"slot": stamp, "task": entry.task})
        return sent
