"""The benches run, small, and judge what they found. Their figures are for people: nothing here looks at one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workers import throwaway
from workers.bench.report import Bar, Report, Table
from workers.management.commands.bench import BENCHES
from workers.wheels import CHECKOUT

STORES = ("DATABASE_URL", "BROKER_URL", "LIVE_URL")


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command as somebody does who has started nothing."""
    # Empty variables win over `.run/env`, and count as not given.
    env = os.environ | dict.fromkeys((*STORES, "SECRET_KEY"), "")
    return subprocess.run(
        [sys.executable, "manage.py", "bench", *arguments],
        env=env,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def test_it_lists_the_benches_and_an_unknown_one_is_refused_with_code_2() -> None:
    listed, refused = bench("--help"), bench("everything")

    assert listed.returncode == 0
    assert all(name in listed.stdout for name in BENCHES)
    assert refused.returncode == 2
    assert "everything" in refused.stderr


@pytest.mark.processes
def test_bench_candles_compares_the_ways_to_the_same_candles(tmp_path: Path) -> None:
    file = tmp_path / "report.json"

    done = bench("candles", "--tickers", "3", "--candles", "20", "--repeat", "2", "--json", "--output", str(file))

    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads(file.read_text())
    assert (done.returncode == 0) == all(bar["holds"] for bar in report["bars"])
    (table,) = report["tables"]
    assert len(table["rows"]) == 4


@pytest.mark.processes
def test_bench_relay_hears_every_frame_once_and_in_order_on_all_servers() -> None:
    done = bench("relay", "--clients", "4", "--tickers", "20", "--repeat", "1", "--json")

    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    rows = [dict(zip(table["columns"], row, strict=True)) for table in report["tables"][:3] for row in table["rows"]]
    who = [row["server"].split()[0] for row in rows]
    assert who == ["Boritrader", "stock", "Boritrader", "stock", "Boritrader", "stock", "raw"]
    assert [row["deliveries"] for row in rows] == [40] * 4 + [80] * 3
    assert [(row["lost"], row["again"], row["disorder"]) for row in rows] == [(0, 0, 0)] * 7
    assert all(row["p50 ms"] is not None and 0 < row["p50 ms"] <= row["p99 ms"] for row in rows)


def report_of(*bars: Bar) -> Report:
    rows: list[list[Any]] = [["ours", 1234567, 0.123456], ["theirs", 9, None]]
    return Report("sample", "a machine", [Table("Figures", ["who", "rows", "ms"], rows)], bars)


def test_a_report_holds_when_every_bar_does() -> None:
    low, high = Bar("time", 5, 5, is_at_most=True), Bar("speed", 5, 5, is_at_most=False)
    slow, weak = Bar("time", 5.1, 5, is_at_most=True), Bar("speed", 4.9, 5, is_at_most=False)
    unknown = Bar("nothing came", float("nan"), 5, is_at_most=True)

    assert report_of(low, high).holds
    assert not report_of(low, slow).holds
    assert not report_of(weak).holds
    assert not report_of(unknown).holds


def test_a_report_reads_as_text_and_as_json() -> None:
    report = report_of(Bar("time", float("nan"), 5, is_at_most=True, unit="ms"))

    text, found = report.as_text(), json.loads(report.as_json())

    assert "1,234,567" in text
    assert "0.123" in text
    assert "MISSED  time: nan ms (at most 5 ms)" in text
    assert found["machine"] == "a machine"
    assert "fsync" in text.splitlines()[0]
    assert all(name in found["stores"] for name in throwaway._NO_DISK)
    assert found["tables"][0]["rows"] == [["ours", 1234567, 0.123456], ["theirs", 9, None]]
    assert found["bars"] == [
        {"what": "time", "figure": None, "limit": 5, "is_at_most": True, "unit": "ms", "holds": False}
    ]


@pytest.mark.processes
def test_bench_replay_finds_no_difference_and_scores_every_call() -> None:
    done = bench("replay", "--tickers", "2", "--slots", "3", "--calls", "60", "--json")

    assert done.returncode == 0, done.stderr
    replayed, recorded = json.loads(done.stdout)["tables"]
    assert replayed["rows"][0][:2] == [2 * 12 * (10 + 3 - 1), 0]
    assert recorded["rows"][0][0] > 0
