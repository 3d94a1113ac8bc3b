"""Django's settings in a run of chaos: the product's own, and one more algorithm, which can be told to go wrong."""

from __future__ import annotations

from boritrader.settings import *  # noqa: F403
from engine import registry
from workers.chaos.poison import ALGORITHM

registry.register(ALGORITHM)
