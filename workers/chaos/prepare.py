"""`python -m workers.chaos.prepare`, inside the product under test: a quick rhythm, and people who watch.

Every algorithm of the central feed on 1m candles, its sweep every few seconds by an interval row of beat, and premium
users who follow all of it. Prints their names and passwords as JSON.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from datetime import UTC, datetime

import django


def _prepare(period: int, people: int) -> dict[str, str]:
    """Changes the rows of the database. Gives name -> password."""
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    from accounts.models import User
    from billing.entitlements import entitlements
    from billing.models import PlanGrant, PlanName
    from signals.models import Algorithm
    from signals.services.bots import get_or_create_master_bot
    from signals.services.following import follow_default
    from signals.services.sweeps import CENTRAL_TASK_NAME

    now = datetime.now(UTC)
    Algorithm.objects.update(timeframe="1m")
    get_or_create_master_bot(now=now)
    task = PeriodicTask.objects.get(name=CENTRAL_TASK_NAME)
    task.interval, _ = IntervalSchedule.objects.get_or_create(every=period, period=IntervalSchedule.SECONDS)
    task.crontab = None
    task.save()  # beat notices
    passwords = {f"watcher-{number}": secrets.token_urlsafe(16) for number in range(people)}
    for name, password in passwords.items():
        user = User.objects.create_user(name, password=password)
        PlanGrant.objects.create(user=user, plan=PlanName.PREMIUM, starts_at=now, reason="watches a run of chaos")
        follow_default(user=user, allowed=entitlements(user, now=now))
    return passwords


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m workers.chaos.prepare", description=__doc__)
    parser.add_argument("--period", type=int, required=True, help="seconds between two sweeps")
    parser.add_argument("--people", type=int, required=True, help="how many users watch")
    arguments = parser.parse_args()
    django.setup()
    sys.stdout.write(json.dumps(_prepare(arguments.period, arguments.people)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
