from __future__ import annotations

import json
import sys
from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from signals.management.arguments import JsonCommand
from signals.services.ledger import check_ledger

EPILOG = """examples:
  python manage.py verify_ledger
  python manage.py verify_ledger --json
  python manage.py verify_ledger --kept ledger-2026-11-25.json     # a copy of /record/ledger.json from that day

Ends with code 0 when every day stands as it was made, 1 when one does not, 2 when there is no ledger yet. Compare the newest
digest with one that you have kept yourself: whoever can rewrite calls can rewrite the ledger, but not your copy.
"""


class Command(JsonCommand):
    help = "Make the hash chain over all public calls anew, and compare it with the ledger."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        formatter = RawDescriptionHelpFormatter
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, formatter_class=formatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--kept",
            type=Path,
            metavar="FILE",
            help="a copy of /record/ledger.json: each of its days must stand, too",
        )
        parser.add_argument("--json", action="store_true", help="one JSON object instead of words")

    def handle(self, *args: object, **options: Any) -> None:
        days = _days(_kept(options["kept"]))
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


def _days(kept: dict[str, str]) -> list[dict[str, Any]]:
    """The chain, oldest day first, each day with its fault; last the days that only the copy knows."""
    days: list[dict[str, Any]] = []
    for entry, fault in check_ledger():
        day = entry.day.isoformat()
        fault = fault or _unlike(kept.pop(day, entry.digest), entry.digest)
        days.append({"day": day, "calls": entry.calls, "digest": entry.digest, "fault": fault})
    return days + [{"day": day, "calls": 0, "digest": "", "fault": "in the copy, and gone"} for day in kept]


def _kept(file: Path | None) -> dict[str, str]:
    """The digests of a copy, by day."""
    if file is None:
        return {}
    try:
        return {str(one["day"]): str(one["digest"]) for one in json.loads(file.read_text())["entries"]}
    except OSError as problem:
        raise CommandError(f"{file} cannot be read: {problem.strerror}", returncode=2) from None
    except (ValueError, LookupError, TypeError):
        raise CommandError(f"{file} is no copy of /record/ledger.json", returncode=2) from None


def _unlike(kept: str, digest: str) -> str:
    return "" if kept == digest else f"the copy has {kept[:12]}…: the day was made anew since"
