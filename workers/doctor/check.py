"""A check, and what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from watch.probe import UNREACHABLE

State = Literal["well", "doubtful", "failed", "unknown"]


class Failed(Exception):
    """Something is wrong. The message says what; the check's remedy, or the one given here, how to mend it."""

    def __init__(self, words: str, remedy: str = "") -> None:
        super().__init__(words)
        self.remedy = remedy


class Doubtful(Failed):
    """It works, but not as it should for long, or not for an installation of this kind."""


@dataclass(frozen=True, slots=True)
class Check:
    """`look` says in words how well it is, or raises Failed or Doubtful. What it `needs` are names of earlier checks:
    where one of them failed, nothing can be said here."""

    name: str
    look: Callable[[], str]
    remedy: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `unknown`: it could not be made, because another failed. The remedy is empty where all is well."""

    name: str
    state: State
    words: str
    remedy: str = ""


def examine(checks: Iterable[Check]) -> Iterator[Finding]:
    """One finding after the other, as they come. No check can stop another."""
    culprits: dict[str, set[str]] = {}  # a check that did not succeed -> those that failed, and must be mended first
    for check in checks:
        lacking = set().union(*(culprits.get(name, set()) for name in check.needs))
        finding = _blame(check, lacking) if lacking else _examine(check)
        if finding.state in ("failed", "unknown"):
            culprits[check.name] = lacking or {check.name}
        yield finding


def _blame(check: Check, culprits: set[str]) -> Finding:
    return Finding(check.name, "unknown", "cannot be told", f"First mend: {', '.join(sorted(culprits))}.")


def _examine(check: Check) -> Finding:
    try:
        return Finding(check.name, "well", check.look())
    except Doubtful as doubt:
        return Finding(check.name, "doubtful", str(doubt), doubt.remedy or check.remedy)
    except Failed as failure:
        return Finding(check.name, "failed", str(failure), failure.remedy or check.remedy)
    except UNREACHABLE as problem:
        return Finding(check.name, "failed", f"no answer ({_first_line(problem)})", check.remedy)
    except Exception as problem:  # noqa: BLE001 (a check that is broken must not hide what the others find)
        words = f"the check itself failed ({type(problem).__name__}: {_first_line(problem)})"
        return Finding(check.name, "failed", words, "That is a fault of ours: please report it.")


def _first_line(problem: Exception) -> str:
    return str(problem).strip().partition("\n")[0][:200] or type(problem).__name__
