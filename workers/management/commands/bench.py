"""Measures the product on this machine, beside its yardsticks."""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser

from workers.bench.report import Report
from workers.embedded import StoreDidNotStart
from workers.wheels import StoreMissing

# The name of each module of workers.bench, and its line in the list.
BENCHES = {
    "sweep": "a whole sweep: tickers x configurations, computed, written and published",
    "relay": "from before COMMIT to thousands of open sockets",
    "candles": "candles from the store, beside the ORM",
    "replay": "a day's replay and a month's record",
    "database": "partitions, pruning and the page's queries under a month of rows",
}
_EXAMPLES = """examples:
  python manage.py bench candles
  python manage.py bench relay --clients 100,1000 --json --output relay.json

Ends with code 0 when every bar holds, 1 when one is missed, 2 when the bench could not run.
"""


class Bench(Protocol):
    """What a module of workers.bench gives."""

    HELP: str

    def add_arguments(self, parser: ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace, say: Callable[[str], None]) -> Report:
        """Measures; tells `say` how far it is."""
        ...


class NotThere(Exception):
    """A bench that this checkout does not have, or that lacks a package. The message says which."""


class Command(BaseCommand):
    help = (
        "Measure the product on this machine, each figure beside its yardstick. Starts stores and processes of its own."
    )
    requires_system_checks: list[str] = []  # its stores are the bench's own, and run only while it does

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        formatter = RawDescriptionHelpFormatter
        return super().create_parser(prog_name, subcommand, epilog=_EXAMPLES, formatter_class=formatter, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        benches = parser.add_subparsers(dest="bench", metavar="NAME", required=True, parser_class=_BenchParser)
        for name, line in BENCHES.items():
            one = benches.add_parser(name, help=line, formatter_class=RawDescriptionHelpFormatter)
            one.set_defaults(bench=name)
            one.add_argument("--json", action="store_true", help="print the report as JSON")
            one.add_argument("--output", type=Path, metavar="FILE", help="write the report there, too")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            report = _module(options["bench"]).run(argparse.Namespace(**options), self._say)
            text = report.as_json() if options["json"] else report.as_text()
        except (NotThere, StoreMissing, StoreDidNotStart, OSError) as problem:
            raise CommandError(str(problem), returncode=2) from problem
        except Exception as problem:  # code 1 would say that it ran
            traceback.print_exc()
            raise CommandError(
                "the bench could not run; the traceback above says where it ended", returncode=2
            ) from problem
        if options["output"] is not None:
            options["output"].write_text(text + "\n")
        self.stdout.write(text)
        if not report.holds:
            sys.exit(1)

    def _say(self, line: str) -> None:
        self.stderr.write(line, self.style.NOTICE)
        self.stderr.flush()


class _BenchParser(CommandParser):
    """Reads its bench's module when that bench was chosen: one that cannot be imported is in nobody else's way."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        try:
            bench = _module(str(self.get_default("bench")))
        except NotThere as problem:
            self.exit(2, f"{problem}\n")
        self.description = bench.HELP
        bench.add_arguments(self)
        return super().parse_known_args(args, namespace)


def _module(name: str) -> Bench:
    try:
        return cast("Bench", importlib.import_module(f"workers.bench.{name}"))
    except ModuleNotFoundError as error:
        raise NotThere(f"`bench {name}` cannot run here: there is no module {error.name}") from error
