"""Telling every web process what its browsers should hear. The only way there, for workers and for everybody else."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as NoAnswer
from redis.retry import Retry

from live.counters import counters
from live.frames import Delivery, encode_batches

CHANNEL: Final = "live"

_TIMEOUT: Final = 2.0  # seconds
# A Redis that hangs would otherwise cost every task of a sweep the whole time-out.
_PAUSE_AFTER_NO_ANSWER: Final = 5.0

logger = logging.getLogger(__name__)
_paused_until = 0.0


def publish(deliveries: Sequence[Delivery]) -> None:
    """Hands (group, frame) pairs to the relay of every web process, in order. Call it after the commit.

    A hint: what Postgres holds is the truth, and each relay asks it every second. So an unreachable Redis is logged
    and counted, never raised. Blocks for at most two seconds; from a coroutine use `layer.group_send` or a thread.
    """
    global _paused_until
    if not deliveries:
        return
    if time.monotonic() < _paused_until:
        counters.publish_failures += 1
        return
    try:
        for batch in encode_batches(deliveries):
            _client(settings.LIVE_URL).publish(CHANNEL, batch)
            counters.published += 1
    except RedisError as error:
        if isinstance(error, NoAnswer):
            _paused_until = time.monotonic() + _PAUSE_AFTER_NO_ANSWER
        counters.publish_failures += 1
        logger.warning(
            "%d frames not published (%s); the relays will find them in Postgres", len(deliveries), type(error).__name__
        )


@lru_cache(maxsize=2)
def _client(url: str) -> Redis:
    """One client per process. redis-py's pool notices a fork, so a prefork child never shares its parent's socket."""
    # No retries: redis-py would wait between them. That a pooled connection is dead, the pool finds out by itself.
    return Redis.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=Retry(NoBackoff(), 0))
