"""Numbers and instants as people read them on a page. Pure functions; model/format.js is the same for the browser.

Instants are milliseconds since 1970 UTC, returns and rates fractions. Exports write plain numbers, never these.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NO-BREAK SPACE}"
NOTHING = "\N{EN DASH}"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(at: int) -> datetime:
    """The aware datetime of an instant. Raises OverflowError where no calendar has it."""
    return _EPOCH + timedelta(milliseconds=at)


def signed_percent(value: float | None, digits: int = 2) -> str:
    """A return with its sign: +0.42 %. What rounds to nothing has none."""
    if value is None:
        return NOTHING
    number = f"{abs(value) * 100:,.{digits}f}"
    sign = "" if not number.strip("0.,") else MINUS if value < 0 else "+"
    return f"{sign}{number}{SPACE}%"


def fee(rate: float) -> str:
    """What is taken of each side: 0.10 %."""
    return f"{rate * 100:.2f}{SPACE}%"


def share(value: float | None) -> str:
    """A rate: 48.2 %. One decimal: its interval is far wider than a second one."""
    return NOTHING if value is None else f"{value * 100:.1f}{SPACE}%"


def interval(low: float | None, high: float | None) -> str:
    """An interval of rates: 46.9 to 49.5 %."""
    if low is None or high is None:
        return NOTHING
    return f"{low * 100:.1f}{NOTHING}{high * 100:.1f}{SPACE}%"


def whole(value: int | None) -> str:
    """A count, thousands separated."""
    return NOTHING if value is None else f"{value:,}"


def price(value: float | None, step: float) -> str:
    """A price with the decimals of the ticker's price step."""
    if value is None:
        return NOTHING
    decimals = min(18, max(0, round(-math.log10(step)))) if step > 0 else 8
    return _with_minus(f"{value:,.{decimals}f}")


def measure(value: float | None) -> str:
    """An algorithm's value or a parameter: at most six significant digits."""
    if value is None:
        return NOTHING
    text = f"{value:,.{max(0, 6 - _digits(value))}f}"
    return _with_minus(text.rstrip("0").rstrip(".") if "." in text else text)


def _digits(value: float) -> int:
    """How many digits stand before the point; zeros behind it count below nothing."""
    return math.floor(math.log10(abs(value))) + 1 if value else 1


def _with_minus(text: str) -> str:
    return text.replace("-", MINUS)


def second(at: int) -> str:
    """The exact UTC instant: 2026-11-21 14:32:05, with thousandths where it has any."""
    when = moment(at)
    return f"{when:%Y-%m-%d %H:%M:%S}" + (f".{at % 1000:03}" if at % 1000 else "")


def minute(at: int) -> str:
    """A UTC instant to the minute: 21 Nov 2026 14:32."""
    return f"{day(at)} {moment(at):%H:%M}"


def day(at: int) -> str:
    """A UTC day: 21 Nov 2026."""
    when = moment(at)
    return f"{when.day} {when:%b %Y}"


def iso(at: int | None) -> str:
    """An instant for programs: 2026-11-21T14:32:05.000Z; empty where there is none."""
    return "" if at is None else f"{moment(at):%Y-%m-%dT%H:%M:%S}.{at % 1000:03}Z"
