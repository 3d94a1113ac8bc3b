from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from accounts.backends import is_demo_mode
from exchanges.base import ExchangeError
from market.tasks import populate_tickers
from signals.services.housekeeping import bootstrap
from workers.demo import make_demo_people


class Command(BaseCommand):
    help = """Make the rows the product needs: universe, algorithms, master bot, schedules; ask the exchange for its tickers.

Safe to run at every start: what an operator has edited is never overwritten.
With DEMO=1 and a loopback bind it also makes the demo people and prints their passwords.

example:  python manage.py bootstrap
"""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def handle(self, *args: object, **options: object) -> None:
        now = datetime.now(UTC)
        bootstrap(now=now)
        try:
            counts = populate_tickers()
        except ExchangeError as error:
            self.stderr.write(f"The exchange does not answer ({error}); tickers are discovered every hour.")
        else:
            self.stdout.write(f"{counts['followed']} of {counts['listed']} listed tickers are followed.")
        if is_demo_mode():
            for person in make_demo_people(now=now):
                self.stdout.write(f"  demo  {person.username:<6} {person.password:<24} {person.role}")
