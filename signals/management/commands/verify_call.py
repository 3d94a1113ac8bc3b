from __future__ import annotations

import json
import sys
from argparse import RawDescriptionHelpFormatter
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from signals.management.arguments import JsonCommand
from signals.models import Call
from signals.services.evaluation import from_ms
from signals.services.evidence import Check, Evidence, verify_call

EPILOG = """examples:
  python manage.py verify_call 4711
  python manage.py verify_call 4711 --json

Ends with code 0 when all that can be computed is as stored, 1 when it is not, 2 when there is no such call or it cannot be
computed any more.
"""
SHOWN = 5  # candles


class Command(JsonCommand):
    help = "Show what one call was made from, and compute it and its outcomes again."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        formatter = RawDescriptionHelpFormatter
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, formatter_class=formatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("call", type=int, help="the call's number, as the record page shows it")
        parser.add_argument("--json", action="store_true", help="one JSON object instead of words")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            found = verify_call(call_id=options["call"])
        except Call.DoesNotExist:
            raise CommandError(f"there is no call {options['call']}", returncode=2) from None
        self.stdout.write(json.dumps(_as_json(found), indent=2) if options["json"] else _in_words(found))
        if any(not check.is_same for check in found.checks if check.computed is not None):
            sys.exit(1)
        if found.obstacle:
            sys.exit(2)


def _as_json(found: Evidence) -> dict[str, Any]:
    call, configuration = found.call, found.call.configuration
    return {
        "call": call.pk,
        "ticker": call.ticker.symbol,
        "algorithm": configuration.algorithm_id,
        "version": call.algorithm_version,
        "timeframe": configuration.timeframe,
        "parameters": configuration.parameters,
        "candle_closed_at": call.candle_closed_at.isoformat(),
        "published_at": call.published_at.isoformat(),
        "is_confirmed": found.is_confirmed,
        "obstacle": found.obstacle,
        "checks": [asdict(check) for check in found.checks],
        "candles": found.candles.rows.tolist(),
    }


def _in_words(found: Evidence) -> str:
    call, configuration, candles = found.call, found.call.configuration, found.candles
    parameters = ", ".join(f"{name} {value}" for name, value in sorted(configuration.parameters.items()))
    lines = [
        (
            f"call {call.pk}: {call.signal} {call.ticker.symbol} by {configuration.algorithm.name} v{call.algorithm_version} "
            f"on {configuration.timeframe} ({parameters or 'no parameters'})"
        ),
        f"candle closed {call.candle_closed_at.isoformat()}, published {call.published_at.isoformat()}",
        f"made from {len(candles)} stored candles, the last of them:",
        "  opened                 open           high           low            close          volume",
    ]
    newest = candles.window(len(candles), SHOWN).rows.tolist()
    lines += [
        f"  {from_ms(row[0]):%Y-%m-%dT%H:%MZ}    " + "".join(f"{one:<15.10g}" for one in row[1:]) for row in newest
    ]
    lines += [f"  {check.name:<18} {check.stored:<34} {_mark(check)}" for check in found.checks]
    if found.obstacle:
        lines.append(f"not computed again: {found.obstacle}")
    else:
        lines.append(
            "confirmed" if found.is_confirmed else "NOT CONFIRMED: what is stored is not what its candles give"
        )
    return "\n".join(lines)


def _mark(check: Check) -> str:
    if check.computed is None:
        return "cannot be computed any more"
    return "same" if check.is_same else f"NOW {check.computed}"
