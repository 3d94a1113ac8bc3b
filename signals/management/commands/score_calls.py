from __future__ import annotations

import json
from argparse import RawDescriptionHelpFormatter
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser

from market import clock
from signals.management.arguments import JsonCommand, past_day
from signals.models import Call
from signals.services.documents import build_documents
from signals.services.scoring import score_calls
from signals.services.tallies import rebuild_months

EPILOG = """examples:
  python manage.py score_calls                     # every call that is due and has no outcome yet
  python manage.py score_calls --day 2026-11-20    # those on candles of one day

Beat does this every few minutes for what has become due. Running it again changes nothing that is there.
"""


class Command(JsonCommand):
    help = "Score the calls that are due, and make the public record anew."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        formatter = RawDescriptionHelpFormatter
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, formatter_class=formatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--day", help="UTC; default: from the first call on")
        parser.add_argument("--json", action="store_true", help="one JSON object instead of words")

    def handle(self, *args: object, **options: Any) -> None:
        day = past_day(options["day"]) if options["day"] is not None else None
        first = Call.objects.order_by("candle_closed_at").values_list("candle_closed_at", flat=True).first()
        if first is None:
            raise CommandError("there are no calls yet", returncode=2)
        since, until = first, None
        if day is not None:
            since = datetime.combine(day, time(), UTC)
            until = since + timedelta(days=1)
        market_now = clock.now()
        counts = score_calls(market_now=market_now, now=datetime.now(UTC), since=since, until=until, say=self._progress)
        rebuild_months(at=market_now, everything=True)
        pages = build_documents(at=market_now)
        if options["json"]:
            self.stdout.write(json.dumps(counts | {"pages": pages}))
        else:
            self.stdout.write(
                f"{counts['scored']:,} outcomes scored, {counts['unscorable']:,} unscorable; {pages} pages made anew"
            )

    def _progress(self, at: datetime) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"\r{at:%Y-%m-%d %H:%M}", ending="")
            self.stderr.flush()
