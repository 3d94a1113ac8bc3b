"""What the settings make of the environment, in a process that has just read them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from workers.connections import time_outs

ASK = "import json; from django.conf import settings; print(json.dumps(settings.DATABASES['default']['OPTIONS']))"


def options_with(query: str) -> dict[str, Any]:
    """Of the connections of a web process whose DATABASE_URL ends so."""
    variables = {
        "DJANGO_SETTINGS_MODULE": "boritrader.settings",
        "BORITRADER_BUILD": "1",
        "PROCESS_NAME": "web",
        "DATABASE_URL": f"postgres://boritrader:secret@127.0.0.1:5432/boritrader{query}",
    }
    done = subprocess.run([sys.executable, "-c", ASK], env=os.environ | variables, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("query", "added"),
    [("", ""), ("?sslmode=require", ""), ("?options=-c%20search_path=x", " -c search_path=x")],
)
def test_what_the_address_of_the_database_adds_removes_no_time_out(query: str, added: str) -> None:
    assert options_with(query)["options"] == time_outs("web").options() + added


def test_what_the_address_of_the_database_says_goes_before_ours() -> None:
    options = options_with("?sslmode=require&connect_timeout=3")

    assert options["sslmode"] == "require"
    assert int(options["connect_timeout"]) == 3
