"""What a run of chaos found: a table of promises for people, for docs/RELIABILITY.md and for scripts."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workers.chaos.audience import Heard
from workers.chaos.faults import Fault
from workers.chaos.invariants import Violation
from workers.chaos.memory import Usage

WORKER_MB = 120.0
# So much more than in its first warm minute a process may take at the end: what it loads at its first task of a kind, and
# the tasks that Flower remembers.
GROWTH_MB = 20.0
# What grows faster (MB a minute) over so many minutes of one life grows for ever.
SLOPE, SLOPE_MINUTES = 0.3, 30.0
COLUMNS = ("promise", "fault", "times", "p50 s", "max s", "lost", "doubled", "missed", "late", "refetched", "holds")
BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"


@dataclass(frozen=True, slots=True)
class Round:
    """One fault and what came of it. `held`: seconds the fault lasted; `recovery`: seconds from its end to
    normal, which it must be `within` so many."""

    struck_at: datetime
    at: str
    held: float
    recovery: float
    within: float
    trouble: str
    seen: str  # what went wrong while a fault lasted that nothing should show
    violations: tuple[Violation, ...]
    kept: int
    lost: dict[str, int]
    heard: Heard

    @property
    def problems(self) -> list[str]:
        """Every broken promise, in words."""
        problems = [f"{one.count} x {one.name} ({one.example})" for one in self.violations]
        problems += [f"{number} committed rows of {table} lost" for table, number in self.lost.items()]
        if self.seen:
            problems.append(f"it showed while it lasted: {self.seen}")
        heard = self.heard
        for number, words in (
            (heard.late, "verdicts late at a socket"),
            (heard.lost, "verdicts told and not stored"),
            (heard.contradicted, "verdicts told otherwise than stored"),
        ):
            if number:
                problems.append(f"{number} {words} ({heard.example})" if heard.example else f"{number} {words}")
        if self.recovery > self.within:
            seconds = "never" if math.isinf(self.recovery) else f"only after {self.recovery:.1f} s"
            problems.append(f"normal {seconds}: {self.trouble}")
        return problems

    def as_text(self) -> str:
        """One line."""
        what = "; ".join(self.problems) or "all promises held"
        return f"[{self.at}] normal after {self.recovery:.1f} s; {what}"


@dataclass
class Findings:
    """All rounds of all faults, and what was measured once over the whole run."""

    seed: int
    tickers: int
    sockets: int
    period: int
    rounds: dict[Fault, list[Round]] = field(default_factory=dict)
    closing: tuple[Violation, ...] = ()
    memory: tuple[Usage, ...] = ()
    slots: int = 0
    verdicts: int = 0
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def add(self, fault: Fault, one: Round) -> None:
        self.rounds.setdefault(fault, []).append(one)

    @property
    def problems(self) -> list[str]:
        """Every broken promise, with the fault it was broken in."""
        found = [
            f"{fault.name}: {text}" for fault, rounds in self.rounds.items() for one in rounds for text in one.problems
        ]
        found += [f"over all: {one.count} x {one.name} ({one.example})" for one in self.closing]
        return found + self._fat()

    @property
    def holds(self) -> bool:
        return not self.problems

    def table(self) -> list[tuple[str, ...]]:
        """A row per fault, as COLUMNS."""
        return [_row(fault, rounds) for fault, rounds in self.rounds.items()]

    def as_text(self) -> str:
        rows = [COLUMNS, *self.table()]
        widths = [max(len(row[number]) for row in rows) for number in range(len(COLUMNS))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.insert(1, "  ".join("-" * width for width in widths))
        lines += ["", self._summary(), "", *self._memory_lines()]
        lines += ["", *(f"BROKEN  {text}" for text in self.problems)] if self.problems else ["", "Every promise held."]
        return "\n".join(lines)

    def as_markdown(self) -> str:
        """What stands in docs/RELIABILITY.md."""
        rows = [COLUMNS, tuple("---" for _ in COLUMNS), *self.table()]
        lines = [f"| {' | '.join(row)} |" for row in rows]
        memory = ["| process | first MB | last MB | most MB | MB/min |", "| --- | --- | --- | --- | --- |"]
        memory += [f"| {u.name} | {u.first:.0f} | {u.last:.0f} | {u.most:.0f} | {u.slope:+.2f} |" for u in self.memory]
        broken = [f"- **broken**: {text}" for text in self.problems]
        return "\n".join([self._summary(), "", *lines, "", *memory, *(["", *broken] if broken else [])])

    def as_json(self) -> str:
        rounds = [
            {"fault": fault.name, "promise": fault.promise, "what": fault.what, "problems": one.problems}
            | _plain(asdict(one))
            for fault, rounds in self.rounds.items()
            for one in rounds
        ]
        told: dict[str, Any] = {
            "holds": self.holds, "problems": self.problems, "machine": _machine(), "seed": self.seed,
            "tickers": self.tickers, "sockets": self.sockets, "period_seconds": self.period, "slots": self.slots,
            "verdicts": self.verdicts, "started_at": self.started_at.isoformat(),
            "ended_at": self.ended_at.isoformat(), "rounds": rounds, "memory": [asdict(one) for one in self.memory],
        }  # fmt: skip
        return json.dumps(told, indent=2)

    def write_into(self, page: Path) -> None:
        """Puts the table between the markers of a page. Raises ValueError where it has none."""
        text = page.read_text()
        before, begin, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise ValueError(f"{page} has no {BEGIN} and {END}: put them where the table shall be")
        page.write_text(f"{before}{BEGIN}\n{self.as_markdown()}\n{END}{after}")

    def _summary(self) -> str:
        minutes = (self.ended_at - self.started_at).total_seconds() / 60
        rounds = sum(len(one) for one in self.rounds.values())
        broken = len(self.problems)
        return (
            f"{self.ended_at:%Y-%m-%d}, {_machine()}: {rounds} faults in {minutes:.0f} minutes, {self.slots} sweeps of "
            f"{self.tickers} tickers every {self.period} s, {self.verdicts} verdicts, {self.sockets} sockets; "
            f"{f'{broken} broken promises' if broken else 'every promise held'}. Seed {self.seed}."
        )

    def _memory_lines(self) -> list[str]:
        head = f"{'process':<24} {'first MB':>8} {'last MB':>8} {'most MB':>8} {'MB/min':>7}"
        return [head] + [
            f"{one.name:<24} {one.first:>8.0f} {one.last:>8.0f} {one.most:>8.0f} {one.slope:>+7.2f}"
            for one in self.memory
        ]

    def _fat(self) -> list[str]:
        """Processes that grew, and workers that are too large."""
        found = [
            f"memory: {one.name} grew from {one.first:.0f} to {one.last:.0f} MB"
            for one in self.memory
            if one.last > one.first + GROWTH_MB or (one.slope > SLOPE and one.minutes >= SLOPE_MINUTES)
        ]
        large = [one for one in self.memory if one.name.startswith("worker-sweep") and one.most > WORKER_MB]
        return found + [f"memory: {one.name} took {one.most:.0f} MB (at most {WORKER_MB:.0f})" for one in large]


def _row(fault: Fault, rounds: list[Round]) -> tuple[str, ...]:
    times = sorted(one.recovery for one in rounds)
    doubled = sum(v.count for one in rounds for v in one.violations if v.name.endswith("twice"))
    lost = sum(sum(one.lost.values()) + one.heard.lost for one in rounds)
    late = sum(one.heard.late for one in rounds)
    refetched = sum(one.heard.refetches for one in rounds)
    missed = sum(v.count for one in rounds for v in one.violations if v.name in ("slot missed", "slot never run"))
    is_kept = not any(one.problems for one in rounds)
    shown = [f"{statistics.median(times):.1f}", f"{times[-1]:.1f}"]
    counts = [str(number) for number in (lost, doubled, missed, late, refetched)]
    return (fault.promise, fault.what, str(len(rounds)), *shown, *counts, "yes" if is_kept else "NO")


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """JSON knows neither instants nor infinity."""
    values["struck_at"] = values["struck_at"].isoformat()
    values["recovery"] = None if math.isinf(values["recovery"]) else round(values["recovery"], 2)
    return values


def _machine() -> str:
    return f"{os.cpu_count()} cores, Linux" if platform.system() == "Linux" else f"{os.cpu_count()} cores"
