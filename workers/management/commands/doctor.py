from __future__ import annotations

import json
import sys
from argparse import RawDescriptionHelpFormatter
from collections import Counter
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from workers.doctor import machine, product, stores
from workers.doctor.check import Finding, examine

MARKS = {"well": "✓", "doubtful": "!", "failed": "✗", "unknown": "?"}
COLOURS = {"well": "32", "doubtful": "33", "failed": "31", "unknown": "33"}
CHECKS = (*machine.CHECKS, *stores.CHECKS, *product.CHECKS)
WIDTH = max(len(check.name) for check in CHECKS)


class Command(BaseCommand):
    help = """Say what is wrong with this installation, and how to mend it. Changes nothing; works with everything down.

Exit code 0: all is well (doubts are allowed, and what has just been started may lack its first sweep); 1: something is wrong; 2: the settings could not be read.

examples:
  python manage.py doctor
  python manage.py doctor --json | jq '.checks[] | select(.state == "failed")'
"""
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")

    def handle(self, *args: object, **options: Any) -> None:
        findings = []
        for finding in examine(CHECKS):
            findings.append(finding)
            if not options["json"]:
                self._draw(finding)
        is_well = all(finding.state != "failed" for finding in findings)
        if options["json"]:
            self.stdout.write(json.dumps({"is_well": is_well, "checks": [asdict(one) for one in findings]}, indent=2))
        else:
            self.stdout.write(_summary(findings))
        if not is_well:
            sys.exit(1)

    def _draw(self, finding: Finding) -> None:
        mark = MARKS[finding.state]
        if self.stdout.isatty():
            mark = f"\x1b[{COLOURS[finding.state]}m{mark}\x1b[0m"
        self.stdout.write(f"{mark} {finding.name:<{WIDTH}}  {finding.words}")
        if finding.remedy:
            self.stdout.write(f"  {'':<{WIDTH}}  -> {finding.remedy}")
        self.stdout.flush()


def _summary(findings: list[Finding]) -> str:
    number = Counter(one.state for one in findings)
    if number["failed"]:
        unknown = f", {number['unknown']} could not be made" if number["unknown"] else ""
        return f"\n{number['failed']} of {len(findings)} checks failed{unknown}."
    return f"\nAll is well{', but see the marks !' if number['doubtful'] else ''}."
