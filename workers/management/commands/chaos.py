"""`manage.py chaos`: breaks the product on purpose, and says whether it kept its promises."""

from __future__ import annotations

import dataclasses
import signal
import sys
import time
from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from workers.chaos.drill import run
from workers.chaos.faults import FAULTS, Fault
from workers.chaos.installation import DidNotStart
from workers.embedded import StoreDidNotStart
from workers.wheels import CHECKOUT, StoreMissing

PAGE = CHECKOUT / "docs" / "RELIABILITY.md"


class Command(BaseCommand):
    help = """Run the whole product on stores and ports of its own, inflict faults, check every promise after each.

It never touches .run/. The code is 0 when every promise held, 1 when one was broken, 2 when it could not run.

examples:  python manage.py chaos                          all faults, about 35 minutes
           python manage.py chaos --short                  five faults
           python manage.py chaos --only postgres --rounds 10
           python manage.py chaos --hours 8 --json         any fault at any time, for a night
"""
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--list", action="store_true", help="say which faults there are, and do nothing")
        parser.add_argument("--only", action="append", metavar="NAME", help="this fault; may be given several times")
        parser.add_argument(
            "--rounds", type=_count, metavar="N", help="each fault so often, whatever its own number is"
        )
        parser.add_argument("--short", action="store_true", help="a few faults, once each")
        parser.add_argument("--hours", type=float, metavar="H", help="faults at random for so long")
        parser.add_argument("--sockets", type=_count, default=40, metavar="N", help="open WebSockets (40)")
        parser.add_argument("--tickers", type=_count, default=20, metavar="N", help="tickers of the exchange (20)")
        parser.add_argument("--seed", type=int, help="repeats the choices of an earlier run, though not its moments")
        parser.add_argument("--json", action="store_true", help="the result as JSON")
        parser.add_argument("--output", type=Path, metavar="FILE", help="write the result there too, as JSON")
        parser.add_argument("--logs", type=Path, metavar="DIR", help="keep what every process said")
        parser.add_argument("--write-docs", action="store_true", help="put the table into docs/RELIABILITY.md")

    def handle(self, *args: object, **options: Any) -> None:
        if options["list"]:
            for fault in FAULTS:
                self.stdout.write(f"{fault.name:<17} x{fault.rounds}  {fault.what}")
            return
        if options["write_docs"] and (options["only"] or options["short"]):
            raise CommandError("--write-docs wants every fault: leave out --only and --short", returncode=2)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # by way of every `finally`: what was started is ended
        hours = options["hours"]
        seed = time.time_ns() % 1_000_000 if options["seed"] is None else options["seed"]
        try:
            findings = run(
                [(fault, options["rounds"] or (1 if options["short"] else fault.rounds)) for fault in _chosen(options)],
                say=self._say,
                seed=seed,
                tickers=options["tickers"],
                sockets=options["sockets"],
                logs=options["logs"],
                ends_at=None if hours is None else time.monotonic() + hours * 3600,
            )
        except (DidNotStart, StoreMissing, StoreDidNotStart) as problem:
            raise CommandError(str(problem), returncode=2) from problem
        self.stdout.write(findings.as_json() if options["json"] else findings.as_text())
        if options["output"]:
            options["output"].write_text(findings.as_json() + "\n")
        if options["write_docs"]:
            findings.write_into(PAGE)
        if not findings.holds:
            sys.exit(1)

    def _say(self, text: str) -> None:
        self.stderr.write(f"{time.strftime('%H:%M:%S')}  {text}")
        self.stderr.flush()


def _chosen(options: dict[str, Any]) -> list[Fault]:
    known = {fault.name: fault for fault in FAULTS}
    wanted = options["only"] or [fault.name for fault in FAULTS if fault.is_short or not options["short"]]
    if unknown := sorted(set(wanted) - known.keys()):
        raise CommandError(f"no fault {', '.join(unknown)}; there are: {', '.join(known)}", returncode=2)
    chosen = [known[name] for name in wanted]
    # The next candle may be a minute away.
    return [dataclasses.replace(fault, at=("sweep",)) for fault in chosen] if options["short"] else chosen


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number
