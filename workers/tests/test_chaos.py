"""The short form of `make chaos`, as CI runs it: real processes, five faults, every promise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers.chaos.faults import FAULTS
from workers.wheels import CHECKOUT


def chaos(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a visitor runs it: without settings, stores or secrets of its own."""
    given = {"DATABASE_URL", "BROKER_URL", "LIVE_URL", "SECRET_KEY", "DJANGO_SETTINGS_MODULE"}
    env = {name: value for name, value in os.environ.items() if name not in given}
    return subprocess.run(
        [sys.executable, "manage.py", "chaos", *arguments],
        cwd=CHECKOUT, env=env, capture_output=True, text=True, timeout=540,
    )  # fmt: skip


@pytest.mark.processes
@pytest.mark.timeout(600)
def test_the_short_form_keeps_every_promise(tmp_path: Path) -> None:
    said = chaos("--short", "--output", str(tmp_path / "found.json"), "--sockets", "20", "--tickers", "10")

    assert said.returncode == 0, said.stdout + said.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert {one["fault"] for one in found["rounds"]} == {fault.name for fault in FAULTS if fault.is_short}
    assert found["verdicts"] > 0
    assert all(one["kept"] > 0 for one in found["rounds"])
    assert "Every promise held." in said.stdout


def test_it_says_which_faults_there_are() -> None:
    said = chaos("--list")

    assert said.returncode == 0
    assert [line.split()[0] for line in said.stdout.splitlines()] == [fault.name for fault in FAULTS]


def test_a_fault_that_does_not_exist_is_refused_with_those_that_do() -> None:
    said = chaos("--only", "earthquake")

    assert said.returncode == 2
    assert "earthquake" in said.stderr
    assert FAULTS[0].name in said.stderr


@pytest.mark.parametrize("part", [("--short",), ("--only", FAULTS[0].name)])
def test_a_part_of_the_faults_is_not_written_into_the_page(part: tuple[str, ...]) -> None:
    said = chaos("--write-docs", *part)

    assert said.returncode == 2
    assert "--write-docs wants every fault" in said.stderr
