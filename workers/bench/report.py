"""What a bench found: tables for people, and bars that hold or do not."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

# As workers.throwaway starts them, for every bench.
STORES = "stores of its own that wait for no disk (Postgres with fsync, full_page_writes and synchronous_commit off)"

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as long as `columns`. A cell that is None was not measured."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def as_text(self) -> str:
        cells = [list(self.columns), *([_shown(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[number]) for row in cells) for number in range(len(self.columns))]
        is_number = [all(not isinstance(row[number], str) for row in self.rows) for number in range(len(self.columns))]
        lines = [
            "  ".join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(row, widths, is_number, strict=True)
            ).rstrip()
            for row in cells
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([self.title, *lines])


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise of DESIGN: `figure` is at most (or at least) `limit`, both in `unit` ("ms", "x", "")."""

    what: str
    figure: float
    limit: float
    is_at_most: bool
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Never, where the figure is no number."""
        return self.figure <= self.limit if self.is_at_most else self.figure >= self.limit

    def as_text(self) -> str:
        relation = "at most" if self.is_at_most else "at least"
        unit = f" {self.unit}" if self.unit else ""
        state = "holds " if self.holds else "MISSED"
        return f"  {state}  {self.what}: {_shown(self.figure)}{unit} ({relation} {_shown(self.limit)}{unit})"


@dataclass(frozen=True, slots=True)
class Report:
    """All that one run of a bench found, on which machine."""

    name: str
    machine: str = field(default_factory=lambda: this_machine())
    stores: str = field(default=STORES, kw_only=True)
    tables: Sequence[Table] = ()
    bars: Sequence[Bar] = ()

    @property
    def holds(self) -> bool:
        """Whether every bar holds."""
        return all(bar.holds for bar in self.bars)

    def as_text(self) -> str:
        """For people: the tables, then the bars."""
        parts = [f"bench {self.name}, on {self.machine}; {self.stores}", *(table.as_text() for table in self.tables)]
        if self.bars:
            parts.append("\n".join(["Bars", *(bar.as_text() for bar in self.bars)]))
        return "\n\n".join(parts)

    def as_json(self) -> str:
        """For scripts: the same as one object; a figure that is no number is null."""
        found = dataclasses.asdict(self)
        found["bars"] = [dataclasses.asdict(bar) | {"holds": bar.holds} for bar in self.bars]
        return json.dumps(_finite(found), indent=2)


def this_machine() -> str:
    """Processor, how many of it we may use, memory, system and Python: what a figure depends on."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{usable_cores()} x {_processor()}, {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def usable_cores() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _shown(cell: Cell) -> str:
    """Three significant digits of anything that is not whole: more would pretend to a precision no run has."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, float) and not math.isfinite(cell):
        return str(cell)
    if isinstance(cell, int) or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.3g}"


def _finite(value: object) -> object:
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {name: _finite(one) for name, one in value.items()}
        case list() | tuple():
            return [_finite(one) for one in value]
        case _:
            return value
