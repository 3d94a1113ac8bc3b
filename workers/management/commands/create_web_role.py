"""Makes the role of the database with which the web can do its work and nothing else."""

from __future__ import annotations

import os
from argparse import RawDescriptionHelpFormatter
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg2.extensions
from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection, models, transaction

from market.models import Candle, CandleRevision, HeartbeatStatus, Ticker
from signals.models import (
    Call,
    CentralSpan,
    Configuration,
    LatestSignal,
    LedgerEntry,
    Outcome,
    Record,
    RecordCell,
    RecordDay,
    SignalResult,
    Sweep,
    TickerRun,
)  # fmt: skip
from workers.connections import TIME_OUTS

# Every model is in one of these lists. What the machine has written down: the web shows it. A Configuration may be
# added, and never changes. The rest is what people own, what the admin edits, and what logging in leaves behind.
SHOWN: tuple[type[models.Model], ...] = (
    Ticker, Candle, CandleRevision, HeartbeatStatus, Sweep, TickerRun, SignalResult, LatestSignal, Call,
    CentralSpan, Outcome, LedgerEntry, RecordCell, RecordDay, Record,
)  # fmt: skip
ADDED: tuple[type[models.Model], ...] = (Configuration,)
WRITTEN = (
    "accounts.Notification", "accounts.User", "accounts.User_groups", "accounts.User_user_permissions",
    "admin.LogEntry", "auth.Group", "auth.Group_permissions", "auth.Permission",
    "axes.AccessAttempt", "axes.AccessAttemptExpiration", "axes.AccessFailureLog", "axes.AccessLog",
    "billing.PlanGrant", "contenttypes.ContentType",
    "django_celery_beat.ClockedSchedule", "django_celery_beat.CrontabSchedule", "django_celery_beat.IntervalSchedule",
    "django_celery_beat.PeriodicTask", "django_celery_beat.PeriodicTasks", "django_celery_beat.SolarSchedule",
    "django_celery_results.ChordCounter", "django_celery_results.GroupResult", "django_celery_results.TaskResult",
    "market.Universe", "sessions.Session", "signals.Algorithm", "signals.AlgorithmPreferences",
    "signals.AlgorithmPreferences_tickers", "watch.Incident",
)  # fmt: skip
# No model's: `doctor` asks it, also under the web's role.
MIGRATIONS = "django_migrations"

FIND_ROLE = """
SELECT rolsuper, EXISTS (
    SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace AND pg_has_role(pg_roles.oid, relowner, 'MEMBER')
) FROM pg_roles WHERE rolname = %s
"""

EPILOG = """examples:
  WEB_DATABASE_URL=postgres://boritrader_web:secret@127.0.0.1:5432/boritrader python manage.py create_web_role
  python manage.py create_web_role --print      # the SQL, for an administrator to run

Run it again after each migration. Ends with code 0 when done or nothing is to be done, 1 when it was refused.
"""


class Command(BaseCommand):
    help = (
        "Makes or renews the role that WEB_DATABASE_URL names: it reads and writes what people own, reads what the "
        "machine has written down, cannot change a call, and its statements are cut after the web's time-outs."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        formatter = RawDescriptionHelpFormatter
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, formatter_class=formatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--print", action="store_true", dest="is_printed", help="show the SQL and do nothing")

    def handle(self, *args: object, **options: Any) -> None:
        url = urlsplit(os.environ.get("WEB_DATABASE_URL", ""))
        role, password = unquote(url.username or ""), unquote(url.password or "")
        if options["is_printed"]:
            role, password = role or "boritrader_web", "put a password here"
        elif not role or not password:
            if url.geturl():
                raise CommandError("WEB_DATABASE_URL needs a user and a password: postgres://user:password@host/name")
            self.stdout.write(
                "WEB_DATABASE_URL is not set: the web uses the role of DATABASE_URL, which owns the tables."
            )
            return
        if role == connection.settings_dict["USER"]:
            raise CommandError(f"WEB_DATABASE_URL names {role}, who owns the tables. Give the web another name.")
        if options["is_printed"]:
            self.stdout.write("".join(f"{statement};\n" for statement in statements(role, password, exists=False)))
            return
        try:
            create(role, password)
        except DatabaseError as problem:
            hint = "`create_web_role --print` shows the SQL for an administrator"
            raise CommandError(f"the role {role} was not made: {str(problem).strip()}\n{hint}") from problem
        self.stdout.write(f"The web's role is {role}.")


@transaction.atomic
def create(role: str, password: str) -> None:
    """Makes the role or, where it exists, gives it this password and exactly these rights.

    Raises CommandError for a superuser or an owner of tables, whom rights do not bind.
    """
    connection.ensure_connection()
    # Only the verifier travels, so that no log of the server ever holds the password.
    verifier = psycopg2.extensions.encrypt_password(password, role, connection.connection, "scram-sha-256")
    with connection.cursor() as cursor:
        cursor.execute(FIND_ROLE, [role])
        found = cursor.fetchone()
        if found and any(found):
            what = "is a superuser" if found[0] else "owns tables, or belongs to a role that does"
            raise CommandError(f"{role} {what}: no right could be kept from it. Give the web another name.")
        for statement in statements(role, verifier, exists=found is not None):
            cursor.execute(statement)


def statements(role: str, password: str, *, exists: bool) -> list[str]:
    """The SQL, in the order of its running."""
    name = connection.ops.quote_name(role)
    secret = "'" + password.replace("'", "''") + "'"
    shown, added = ({one._meta.db_table for one in models} for models in (SHOWN, ADDED))
    written = {apps.get_model(label)._meta.db_table for label in WRITTEN}
    verb = "ALTER" if exists else "CREATE"
    return [
        f"{verb} ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {secret}",
        # Also here, since PgBouncer lets no time-outs of a connection through.
        *(f"ALTER ROLE {name} SET {setting} = '{value}'" for setting, value in TIME_OUTS["web"].settings().items()),
        f"GRANT USAGE ON SCHEMA public TO {name}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {name}",
        f"GRANT SELECT ON {_names(shown | added | written | {MIGRATIONS})} TO {name}",
        f"GRANT INSERT ON {_names(added)} TO {name}",
        f"GRANT INSERT, UPDATE, DELETE ON {_names(written)} TO {name}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {name}",
    ]


def _names(tables: set[str]) -> str:
    return ", ".join(connection.ops.quote_name(table) for table in sorted(tables))
