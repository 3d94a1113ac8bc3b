from __future__ import annotations

import json
from argparse import RawDescriptionHelpFormatter
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError

from engine import registry
from engine.algorithm import Algorithm
from signals.models import Algorithm as AlgorithmRow


class Command(BaseCommand):
    help = """List every algorithm: id, version, timeframe in the central feed, candles it looks back at, parameters.

example:  python manage.py list_algorithms --json
"""
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON array instead of a table")

    def handle(self, *args: object, **options: Any) -> None:
        rows = _rows()
        listed = [_described(one, rows.get(one.id)) for one in registry.all_algorithms()]
        if options["json"]:
            self.stdout.write(json.dumps(listed, indent=2))
            return
        self.stdout.write("id           ver  feed bars  name (default parameters)")
        for one in listed:
            parameters = ", ".join(f"{each['name']}={each['default']}" for each in one["parameters"])
            central = one["timeframe"] or ("off" if one["is_enabled"] is False else "-")
            self.stdout.write(
                f"{one['id']:<12} v{one['version']:<3} {central:<4} {one['lookback']:>4}  {one['name']} ({parameters})"
            )


def _rows() -> dict[str, AlgorithmRow]:
    """What the operator has set; nothing where the database is away: the algorithms are there all the same."""
    try:
        return AlgorithmRow.objects.in_bulk()
    except DatabaseError:
        return {}


def _described(algorithm: Algorithm, row: AlgorithmRow | None) -> dict[str, Any]:
    return {
        "id": algorithm.id,
        "name": algorithm.name,
        "description": algorithm.description,
        "version": algorithm.version,
        "is_enabled": row.is_enabled if row else None,
        "timeframe": row.timeframe if row and row.is_enabled else None,
        "lookback": algorithm.lookback(algorithm.parameters_from({})),
        "parameters": [asdict(parameter) for parameter in algorithm.parameters],
    }
