from __future__ import annotations

import json
import sys
from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import CommandError, CommandParser

from signals.management.arguments import JsonCommand, past_day
from signals.services.parity import NothingToReplay, Replay, as_json, replay_day

EPILOG = """examples:
  python manage.py replay --day 2026-11-25
  python manage.py replay --day 2026-11-25 --tickers BTCUSDT ETHUSDT --json

Ends with code 0 when every verdict is what the stored candles give, 1 when one is not, 2 when there is nothing to replay.
With --json that is told as {"error": "..."}.
"""


class Command(JsonCommand):
    help = "Compute a day's verdicts of the central feed again from the stored candles, and compare every row."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        formatter = RawDescriptionHelpFormatter
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, formatter_class=formatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--day", required=True, help="UTC, such as 2026-11-25")
        parser.add_argument("--tickers", nargs="+", metavar="SYMBOL", help="these only (default: all)")
        parser.add_argument("--json", action="store_true", help="one JSON object instead of words")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            found = replay_day(day=past_day(options["day"]), tickers=options["tickers"], say=self._progress)
        except NothingToReplay as nothing:
            raise CommandError(str(nothing), returncode=2) from None
        if options["json"]:
            self.stdout.write(json.dumps(as_json(found), indent=2))
        else:
            self._tell(found)
        if found.differing:
            sys.exit(1)

    def _progress(self, done: int, of: int) -> None:
        if self.stderr.isatty() and (done % 10 == 0 or done == of):
            self.stderr.write(f"\r{done * 100 // of:3d} %", ending="" if done < of else "\n")
            self.stderr.flush()

    def _tell(self, found: Replay) -> None:
        self.stdout.write(
            f"{found.day}: {found.differing:,} of {found.compared:,} verdicts differ; "
            f"{found.outcomes:,} outcomes scored again ({found.seconds:.1f} s)"
        )
        for one in found.differences:
            self.stdout.write(
                f"  {one.algorithm} (configuration {one.configuration_id}) {one.ticker} {one.candle_closed_at:%H:%M}: {one.what}"
            )
        if found.differing > len(found.differences):
            self.stdout.write(f"  and {found.differing - len(found.differences):,} more")
        self.stdout.write(
            f"not compared: {found.other_candles:,} whose candles came later or were filled in, "
            f"{found.other_version:,} of another version of their algorithm\n"
            f"{found.holes:,} candles without a verdict; {found.revisions:,} candles revised by the exchange since"
        )
