from __future__ import annotations

import asyncio
import json
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from exchanges.simulator import Simulator, SimulatorConfig, UnusableRecording, serve


class Command(BaseCommand):
    help = "Runs a simulated exchange that speaks Binance's wire protocol, until Ctrl-C or SIGTERM."
    requires_system_checks: list[str] = []  # it needs no database and no settings

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        examples = (
            "examples:\n"
            "  run_simulator --tickers 2000\n"
            "  run_simulator --replay recordings --replay-from 2023-03-24T12:00\n"
            "  run_simulator --stepped, then: curl -X POST 'http://127.0.0.1:28480/sim/advance?minutes=2'\n"
        )
        formatter = RawDescriptionHelpFormatter
        return super().create_parser(prog_name, subcommand, epilog=examples, formatter_class=formatter, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to bind; /sim/ answers this machine only")
        parser.add_argument("--port", type=int, default=28480, help="default %(default)s; 0 takes a free one")
        parser.add_argument("--tickers", type=int, default=100, help="how many markets to list")
        parser.add_argument("--seed", type=int, default=1, help="another seed is another market")
        parser.add_argument("--stepped", action="store_true", help="the clock stands until POST /sim/advance")
        parser.add_argument("--start-at", type=_instant, metavar="ISO", help="the market's clock at the start (UTC)")
        parser.add_argument("--replay", type=Path, metavar="DIR", help="play recorded <SYMBOL>_1m_*.csv.gz")
        parser.add_argument("--replay-from", type=_instant, metavar="ISO", help="the recorded instant to start at")
        parser.add_argument("--history-minutes", type=int, default=1000, help="recorded minutes before the start")
        parser.add_argument("--weight-limit", type=int, default=6000, help="request weight per minute and address")
        parser.add_argument("--json", action="store_true", help="say where it listens as one line of JSON")

    def handle(self, *args: object, **options: Any) -> None:
        names = SimulatorConfig.__dataclass_fields__
        try:
            config = SimulatorConfig(**{name: options[name] for name in names})
            asyncio.run(serve(config, lambda simulator: self._announce(simulator, is_json=options["json"])))
        except (ValueError, UnusableRecording, OSError) as error:
            raise CommandError(str(error)) from error

    def _announce(self, simulator: Simulator, *, is_json: bool) -> None:
        if is_json:
            urls = {"rest_url": simulator.rest_url, "stream_url": simulator.stream_url}
            self.stdout.write(json.dumps(urls | simulator.status()))
        else:
            tickers = len(simulator.market.listings)
            self.stdout.write(
                f"Simulated exchange: {tickers} tickers on {simulator.rest_url} and {simulator.stream_url}"
            )
        self.stdout.flush()


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not an ISO instant like 2023-03-24T12:00") from error
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
