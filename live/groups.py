"""Names of the groups a browser's socket is joined to. Pure functions; who may join what is the apps' business.

Channels allows `[A-Za-z0-9-_.]` and fewer than 100 characters. Everything else (`BTC/USDT`, Chinese names, `.` itself)
is written as `.XX`, one for each byte of its UTF-8. The escape is reversible, so two names never collide.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from typing import Final

MARKET_GROUP: Final = "market_"

_LONGEST: Final = 99
_PRIVATE: Final = "user_"
_PAIR: Final = "notifications_"
_BROADCAST: Final = (_PAIR, "market_", "candles_")
_PLAIN = re.compile(r"[^A-Za-z0-9-]")
_PLAIN_OR_UNDERSCORE = re.compile(r"[^A-Za-z0-9_-]")


@lru_cache(maxsize=100_000)
def group_name(algorithm: str, ticker: str) -> str:
    """`notifications_<algorithm>_<TICKER>`: the group that gets the central feed's verdicts on this pair.

    The last underscore separates the two, because underscores stay in the algorithm (`ema_cross`) and are escaped in the
    ticker: (`a_b`, `c`) and (`a`, `b_c`) differ. Letters keep their case. A name too long for Channels ends in its digest.
    """
    return _shortened(_PAIR, f"{_escaped(algorithm, _PLAIN_OR_UNDERSCORE)}_{_escaped(ticker, _PLAIN)}")


def candles_group(symbol: str) -> str:
    """`candles_<SYMBOL>`: the group that gets the closed candles of one symbol."""
    return _shortened("candles_", _escaped(symbol, _PLAIN))


def user_group(user_id: int) -> str:
    """`user_<id>`: one user's own group, for his premium results and his notifications."""
    return f"{_PRIVATE}{user_id}"


def is_of_pair(group: str) -> bool:
    """Whether the group is a pair's, which carries signals and nothing else."""
    return group.startswith(_PAIR)


def is_private(group: str) -> bool:
    """Whether the group belongs to one user."""
    return group.startswith(_PRIVATE)


def is_live(group: str) -> bool:
    """Whether the group is one of ours (broadcast or private), kept in the table of `live.layer` and not in Redis."""
    return group.startswith(_BROADCAST) or is_private(group)


def _escaped(name: str, illegal: re.Pattern[str]) -> str:
    return illegal.sub(lambda found: "".join(f".{byte:02X}" for byte in _utf8(found[0])), name)


def _utf8(text: str) -> bytes:
    # A client may send half of a surrogate pair: also a name, though of nothing.
    return text.encode("utf-8", "surrogatepass")


def _shortened(prefix: str, rest: str) -> str:
    name = prefix + rest
    # No escape looks like ".s", so no other name ends like a digest.
    return name if len(name) <= _LONGEST else f"{prefix}.sha256-{sha256(rest.encode()).hexdigest()}"
