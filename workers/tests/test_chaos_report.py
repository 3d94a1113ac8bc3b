"""What a run of chaos says: a promise that was broken anywhere is told, and nothing else is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from workers.chaos.audience import Heard
from workers.chaos.faults import FAULTS
from workers.chaos.invariants import Violation
from workers.chaos.memory import Usage
from workers.chaos.report import BEGIN, END, Findings, Round

GOOD: dict[str, Any] = {
    "struck_at": datetime(2026, 11, 20, 12, 0, tzinfo=UTC),
    "at": "sweep",
    "held": 0.0,
    "recovery": 4.0,
    "within": 30.0,
    "trouble": "",
    "seen": "",
    "violations": (),
    "kept": 1_000,
    "lost": {},
    "heard": Heard(),
}


def findings(**changed: Any) -> Findings:
    found = Findings(seed=1, tickers=20, sockets=40, period=5)
    found.add(FAULTS[0], Round(**GOOD))
    found.add(FAULTS[0], Round(**GOOD | changed))
    return found


def test_a_run_without_a_broken_promise_holds() -> None:
    found = findings()

    assert found.holds
    assert found.table() == [(FAULTS[0].promise, FAULTS[0].what, "2", "4.0", "4.0", "0", "0", "0", "0", "0", "yes")]
    assert json.loads(found.as_json())["holds"] is True


@pytest.mark.parametrize(
    "broken",
    [
        {"recovery": 30.1, "trouble": "beat not running"},
        {"recovery": float("inf"), "trouble": "beat not running"},
        {"violations": (Violation("slot run twice", 1, "central 12:00"),)},
        {"violations": (Violation("slot missed", 1, "12:00"),)},
        {"lost": {"calls": 1}},
        {"seen": "the slot 12:00 is not closed"},
        {"heard": Heard(late=1)},
        {"heard": Heard(lost=1)},
        {"heard": Heard(contradicted=1)},
    ],
)
def test_every_kind_of_broken_promise_is_told_in_every_form(broken: dict[str, Any]) -> None:
    found = findings(**broken)

    assert not found.holds
    assert found.table()[0][-1] == "NO"
    assert len(found.problems) == 1
    assert found.problems[0] in found.as_text()
    assert json.loads(found.as_json())["problems"] == found.problems
    assert "broken" in found.as_markdown()


@pytest.mark.parametrize(
    ("usage", "is_fine"),
    [
        (Usage("web", 100, 119, 140, 0.1, 40), True),
        (Usage("web", 100, 121, 140, 0.1, 5), False),
        (Usage("web", 100, 110, 110, 0.4, 20), True),
        (Usage("web", 100, 110, 110, 0.4, 40), False),
        (Usage("worker-sweep, a child", 100, 100, 121, 0.0, 5), False),
    ],
)
def test_a_process_that_grows_or_is_too_large_is_told(usage: Usage, is_fine: bool) -> None:
    found = findings()
    found.memory = (usage,)

    assert found.holds is is_fine


def test_what_was_wrong_only_at_the_end_is_told_too() -> None:
    found = findings()
    found.closing = (Violation("verdict twice", 1, "7 8"),)

    assert found.problems == ["over all: 1 x verdict twice (7 8)"]


def test_the_page_keeps_all_but_the_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nof yesterday\n{END}\nafter\n")

    findings().write_into(page)

    assert page.read_text().startswith(f"before\n{BEGIN}\n")
    assert page.read_text().endswith(f"\n{END}\nafter\n")
    assert "of yesterday" not in page.read_text()
    assert FAULTS[0].what in page.read_text()


def test_a_page_without_a_place_for_the_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("text\n")

    with pytest.raises(ValueError, match="put them where the table shall be"):
        findings().write_into(tmp_path / "page.md")
