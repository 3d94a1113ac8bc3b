"""Writes live/wire.schema.json."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from live.schema import SCHEMA_FILE, encoded_schema


class Command(BaseCommand):
    help = """Writes the WebSocket messages of live/messages.py to live/wire.schema.json, which the browser's tests read.

Examples: manage.py export_wire_schema, manage.py export_wire_schema --check (exit code 1 when the file is stale)."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="write nothing; fail when the file is stale")

    def handle(self, *args: Any, check: bool, **options: Any) -> None:
        wanted = encoded_schema()
        if not check:
            SCHEMA_FILE.write_bytes(wanted)
            self.stdout.write(f"{SCHEMA_FILE.name} written")
        elif not SCHEMA_FILE.exists() or SCHEMA_FILE.read_bytes() != wanted:
            raise CommandError(f"{SCHEMA_FILE.name} is stale: run manage.py export_wire_schema")
