"""Gives each run of the tests its own stores, before Django's settings are read. `.run/` is never touched.

All of it happens while this file is imported: pytest does that before it imports the applications' own conftest files,
which need Django. pyproject.toml must not name DJANGO_SETTINGS_MODULE: pytest-django would read the settings earlier
still. Runs of the Django-free packages alone start nothing and set up no Django.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from workers.throwaway import throwaway_stores

_ROOT = Path(__file__).resolve().parent
_WITHOUT_DJANGO = [_ROOT / "engine", _ROOT / "exchanges"]


def _needs_no_django() -> bool:
    paths = [Path(argument.split("::")[0]).resolve() for argument in sys.argv[1:] if not argument.startswith("-")]
    wanted = [path for path in paths if path.exists()]
    return bool(wanted) and all(any(path.is_relative_to(folder) for folder in _WITHOUT_DJANGO) for path in wanted)


if not _needs_no_django():
    running = contextlib.ExitStack()
    atexit.register(running.close)  # also after Ctrl-C
    os.environ.update(running.enter_context(throwaway_stores()))
    os.environ["DJANGO_SETTINGS_MODULE"] = "boritrader.settings"
    import django

    django.setup()


LEFT_OVER = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """pytest-django's, and before its end: no thread's connection may stand in the way of dropping the database.

    Threads of a web process keep theirs for a minute, and some end later than the test that started them.
    """
    yield
    from django.db import connection

    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(LEFT_OVER)
