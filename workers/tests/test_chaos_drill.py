"""A fault that cannot be inflicted spoils its own round alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from workers.chaos.drill import _inflict
from workers.chaos.faults import NO_WORK, Fault


def test_a_fault_that_fails_is_a_problem_of_its_round_and_told_with_its_traceback() -> None:
    def fail(_: Any) -> None:
        raise TimeoutError("no other web within 60 s")

    said: list[str] = []
    stage: Any = SimpleNamespace(trouble=lambda: "the web is not running", say=said.append)

    clean_up, seen, broken = _inflict(stage, Fault("web", NO_WORK, "kill -9 of the web", fail, 1))

    assert clean_up is None
    assert seen in ("", "the web is not running")
    assert [(one.name, one.example) for one in broken] == [
        ("the fault itself failed", "TimeoutError: no other web within 60 s")
    ]
    assert "in fail" in said[0]
