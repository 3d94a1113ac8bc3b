"""The command line itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.conf import settings


@pytest.mark.parametrize("command", [["verify_ledger"], ["replay", "--day", "2026-11-25"], ["verify_call", "1"]])
def test_without_a_database_a_check_has_found_nothing_and_says_so_in_words(command: list[str]) -> None:
    env = os.environ | {"DATABASE_URL": "postgres://nobody:nothing@127.0.0.1:1/none"}

    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=settings.BASE_DIR, env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert "The database does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_python_that_is_not_the_projects_own_is_told_which_one_is() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "manage.py", "help"],
        cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (2, "")
    assert ".venv/bin/python manage.py" in done.stderr
    assert "Traceback" not in done.stderr
