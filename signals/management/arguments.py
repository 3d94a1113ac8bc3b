"""What the commands of this room have in common: how they take a day, and how they fail."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError

from market import clock


class JsonCommand(BaseCommand):
    """A command with `--json`, which then tells on stdout also why it could not do its work: {"error": "..."}."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except (CommandError, DatabaseError) as problem:
            if options["json"]:
                self.stdout.write(json.dumps({"error": str(problem).strip()}))
            raise


def past_day(text: str) -> date:
    """A day as people and scripts write it: 2026-11-25. Raises CommandError where it is none, or has not begun yet."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{text!r} is no day; give one such as 2026-11-25", returncode=2) from None
    today = clock.now().date()
    if day > today:
        raise CommandError(f"{day} has not begun yet; on the market's clock it is {today} (UTC)", returncode=2)
    return day
