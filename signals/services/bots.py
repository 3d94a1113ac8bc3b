"""Bots: whoever an algorithm runs for. The master bot runs the central feed; a premium user's bot runs theirs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django_celery_beat.models import PeriodicTask, PeriodicTasks

from accounts.models import User
from engine.evaluate import Verdict
from market.models import Ticker
from market.store import CandleStore
from signals.models import Algorithm, AlgorithmPreferences, Configuration
from signals.services.configurations import adopt_central_configuration
from signals.services.evaluation import execute_algorithm
from signals.services.schedules import PREMIUM_PREFIX, Timetable
from signals.services.sweeps import is_entitled_to_schedule

# What cleanup writes into the rows it pauses, to know them again.
PAUSED = "Paused: the user has left, or the plan does not include it (any more)."


class NotConfigured(LookupError):
    """The bot does not run this algorithm. Remedy: add an AlgorithmPreferences row for it."""


@dataclass(frozen=True, slots=True)
class BoritraderBot:
    """Runs a user's configurations."""

    user: User

    def execute_algorithm(self, algo: str, ticker: str) -> tuple[bool, bool]:
        """(entry, exit) of the bot's configuration of `algo` on the newest closed candle of `ticker`.

        Raises NotConfigured, or Ticker.DoesNotExist for a symbol nobody has discovered.
        """
        verdict = self.run_algorithm(algo, ticker)
        return verdict.is_entry, verdict.is_exit

    def run_algorithm(self, algo: str, ticker: str) -> Verdict:
        """The whole verdict behind execute_algorithm: the function the sweep calls, on the same candles."""
        row = Ticker.objects.get(exchange=settings.EXCHANGE, symbol=ticker)
        configuration = self._configuration(algo)
        candles = CandleStore().load([row.pk], configuration.timeframe)[row.pk]
        return execute_algorithm(configuration, candles)

    def _configuration(self, algo: str) -> Configuration:
        preference = (
            AlgorithmPreferences.objects.for_user(self.user)
            .enabled()
            .filter(configuration__algorithm=algo)
            .select_related("configuration")
            .order_by("-pk")
            .first()
        )
        if preference is None:
            raise NotConfigured(f"{self.user} runs no configuration of {algo!r}; add one in Algorithm preferences")
        return preference.configuration


def get_or_create_master_bot(*, now: datetime) -> BoritraderBot:
    """The bot of the central feed: a user nobody can log in as, with every algorithm on every ticker.

    Safe across processes; an operator's edits of its preferences are kept.
    """
    master, is_new = User.objects.get_or_create(username=settings.MASTER_BOT_USERNAME, defaults={"is_active": False})
    if is_new:
        master.set_unusable_password()
        master.save(update_fields=["password"])
    for algorithm in Algorithm.objects.all():
        adopt_central_configuration(algorithm=algorithm, master=master, now=now)
    return BoritraderBot(master)


def get_or_create_user_bot(*, user: User) -> BoritraderBot:
    """The bot of a user. It holds nothing: it is as live as the user's preferences."""
    return BoritraderBot(user)


def cleanup_inactive_bots(*, now: datetime) -> int:
    """Pauses the schedules of users who left or whose plan ended, and goes on with those whose plan is back.

    Returns how many were paused. A schedule that an operator has switched off stays off.
    """
    tasks = list(PeriodicTask.objects.filter(name__startswith=PREMIUM_PREFIX))
    wrong = [
        task for task in tasks if (task.enabled or task.description == PAUSED) and task.enabled != _may_run(task, now)
    ]
    for task in wrong:
        task.enabled = not task.enabled
        task.description = "" if task.enabled else PAUSED
    PeriodicTask.objects.bulk_update(wrong, ["enabled", "description"])
    if wrong:
        PeriodicTasks.update_changed()  # a bulk update alone is not seen by beat
    return sum(not task.enabled for task in wrong)


def _may_run(task: PeriodicTask, now: datetime) -> bool:
    preference_id = task.name.rsplit(":", 1)[-1]
    preference = AlgorithmPreferences.objects.filter(pk=preference_id).select_related("user").first()
    return preference is not None and is_entitled_to_schedule(preference=preference, now=now)


def timetable_of(feed: str) -> Timetable | None:
    """The schedule of a premium feed, as it stands in django-celery-beat."""
    task = PeriodicTask.objects.filter(name=feed).select_related("crontab", "interval").first()
    return None if task is None else task.schedule
