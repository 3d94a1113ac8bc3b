"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import date


def day(text: str) -> date:
    """A day as people and scripts write it: 2026-11-25. Raises ArgumentTypeError, with an example."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no day; give one such as 2026-11-25") from None
