from __future__ import annotations

import json
import sys
from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from signals.services.ledger import check_ledger

EPILOG = """examples:
  python manage.py verify_ledger
  python manage.py verify_ledger --json

Ends with code 0 when every day stands as it was made, 1 when one does not, 2 when there is no ledger yet. Compare the newest
digest with one that you have kept yourself: whoever can rewrite calls can rewrite the ledger, but not your copy.
"""


class Command(BaseCommand):
    help = "Make the hash chain over all public calls anew, and compare it with the ledger."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        formatter = RawDescriptionHelpFormatter
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, formatter_class=formatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object instead of words")

    def handle(self, *args: object, **options: Any) -> None:
        days = [
            {"day": entry.day.isoformat(), "calls": entry.calls, "digest": entry.digest, "fault": fault}
            for entry, fault in check_ledger()
        ]
        if not days:
            raise CommandError("there is no ledger yet: a day enters it when it is over", returncode=2)
        faulty = [day for day in days if day["fault"]]
        if options["json"]:
            self.stdout.write(json.dumps({"is_intact": not faulty, "days": days}, indent=2))
        else:
            for day in days:
                self.stdout.write(
                    f"{day['day']}  {day['calls']:>9,} calls  {day['digest']}  {day['fault'] or 'stands'}"
                )
            self.stdout.write(
                f"{len(faulty)} of {len(days)} days do not stand" if faulty else f"all {len(days)} days stand"
            )
        if faulty:
            sys.exit(1)
