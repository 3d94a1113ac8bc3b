from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "run_simulator", "--port", "0", "--json", *arguments],
        cwd=ROOT,
        env=os.environ | {"BORITRADER_BUILD": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_told_to_stop(ending: signal.Signals) -> None:
    with command("--tickers", "3", "--stepped", "--start-at", "2026-03-04T12:00") as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        with urllib.request.urlopen(f"{told['rest_url']}/api/v3/time", timeout=30) as response:  # noqa: S310 - our own
            answered = json.load(response)
        process.send_signal(ending)
        _, errors = process.communicate(timeout=60)

    assert told["tickers"] == 3
    assert answered == {"serverTime": 1_772_625_600_000}
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--tickers", "0"], "tickers must be at least 1"),
        (["--replay", "nowhere"], "no <SYMBOL>_1m_*.csv.gz in nowhere"),
        (["--start-at", "noon"], "'noon' is not an ISO instant"),
    ],
)
def test_a_wrong_option_is_explained(arguments: list[str], reason: str) -> None:
    with command(*arguments) as process:
        _, errors = process.communicate(timeout=60)

    assert process.returncode != 0
    assert reason in errors
    assert "Traceback" not in errors
