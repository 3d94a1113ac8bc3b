"""Every algorithm the product can run, by id."""

from __future__ import annotations

from engine.algorithm import Algorithm
from engine.algorithms import BUILT_IN

__all__ = ["Algorithm", "UnknownAlgorithm", "all_algorithms", "get", "register"]


class UnknownAlgorithm(LookupError):
    """No algorithm has this id; the message lists those that exist."""


_registered: dict[str, Algorithm] = {}


def register(algorithm: Algorithm) -> None:
    """Makes an algorithm known to `get`. Raises ValueError where another one already has its id."""
    if _registered.setdefault(algorithm.id, algorithm) is not algorithm:
        raise ValueError(f"an algorithm with the id {algorithm.id} is already registered")


def get(algorithm_id: str) -> Algorithm:
    """The algorithm of this id. Raises UnknownAlgorithm, with the known ids."""
    try:
        return _registered[algorithm_id]
    except KeyError:
        raise UnknownAlgorithm(f"no algorithm {algorithm_id!r}; known: {', '.join(_registered)}") from None


def all_algorithms() -> tuple[Algorithm, ...]:
    """Every registered algorithm, the built-in ones first, in the order in which they were registered."""
    return tuple(_registered.values())


for _algorithm in BUILT_IN:
    register(_algorithm)
