from __future__ import annotations

import json
import os
import re
from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from workers.supervisor import RUN, read_env

# Whose values are never shown, only whether there is one.
SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|AUTH|DSN")

# Variables whose setting has another name.
SETTINGS = {
    "HTTPS": "IS_HTTPS",
    "DEMO": "IS_DEMO",
    "COLLECTED_STATIC": "IS_STATIC_COLLECTED",
    "EMAIL_FROM": "DEFAULT_FROM_EMAIL",
}
# The tag of an image, not the version of the product.
NOT_SETTINGS = {"VERSION"}


class Command(BaseCommand):
    help = """Show every variable of .env.example: its value, and where that comes from. Secrets are shown as set or unset.

example:  python manage.py show_config --json
"""
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")

    def handle(self, *args: object, **options: Any) -> None:
        rows = [_row(name, example) for name, example in variables(settings.BASE_DIR / ".env.example").items()]
        if options["json"]:
            self.stdout.write(json.dumps({row["name"]: row for row in rows}, indent=2))
            return
        width = max(len(row["name"]) for row in rows)
        for row in rows:
            self.stdout.write(f"{row['name']:<{width}}  {row['source']:<11}  {row['value']}".rstrip())


def variables(example: Path) -> dict[str, str]:
    """The names in .env.example, in its order, with the values it gives them."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", example.read_text(), re.MULTILINE))


def _row(name: str, example: str) -> dict[str, str]:
    given, kept = os.environ.get(name, ""), read_env(RUN / "env").get(name, "")
    if not given:
        return {"name": name, "source": "default", "value": shown(name, default_of(name, example))}
    # The settings fill the environment from the file, so what is the same in both comes from there.
    source = f"{RUN.name}/env" if given == kept else "environment"
    return {"name": name, "source": source, "value": shown(name, given)}


def default_of(name: str, example: str) -> str:
    """What the product takes where a variable is not given, as far as its settings say so."""
    value = example if name in NOT_SETTINGS else getattr(settings, SETTINGS.get(name, name), example)
    if isinstance(value, bool):
        return str(int(value))
    return ",".join(value) if isinstance(value, list) else str(value)


def shown(name: str, value: str) -> str:
    """The value as anybody may see it."""
    if SECRET.search(name):
        return "set" if value else "unset"
    if "://" not in value:
        return value
    parts = urlsplit(value)
    if parts.password is None and parts.username is None:
        return value
    address = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username or ''}:***@{address}").geturl()
