#!/usr/bin/env python
"""Boritrader's command line: `python manage.py help` lists every command."""

from __future__ import annotations

import importlib.util
import os
import sys

# They start stores of their own, for processes of their own: for themselves they need none, and no installation.
SELF_CONTAINED = {"bench", "chaos"}


def main() -> None:
    if sys.argv[1:2] and sys.argv[1] in SELF_CONTAINED:
        os.environ["BORITRADER_BUILD"] = "1"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "boritrader.settings")
    if importlib.util.find_spec("django") is None:
        sys.stderr.write(
            "This Python has no Django. The project has one of its own: .venv/bin/python manage.py (`make setup` makes it).\n"
        )
        sys.exit(2)
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as problem:  # its message says what to set; where it was noticed helps nobody
        sys.stderr.write(f"{problem}\n")
        sys.exit(2)
    except OperationalError as problem:  # a code of its own: 1 is what checks say of what they found
        sys.stderr.write(
            f"The database does not answer: {str(problem).strip()}\nIs it running? `make run` starts it.\n"
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
