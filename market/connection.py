"""This process's connection to the live store (settings.LIVE_URL): candles, watermark and the market's clock."""

from __future__ import annotations

from functools import lru_cache

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NotConnected
from redis.retry import Retry

_TIMEOUT = 5.0  # seconds


def live_store() -> Redis:
    """The client of this process. Raises redis.RedisError when used while the store is unreachable."""
    return _client(settings.LIVE_URL)


@lru_cache(maxsize=2)
def _client(url: str) -> Redis:
    # redis-py's pool notices a fork, so a prefork child never shares its parent's socket. One retry, at once: after
    # a restart of Redis the pooled connection is dead, and only using it shows that.
    retry = Retry(NoBackoff(), 1, supported_errors=(NotConnected,))
    return Redis.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=retry)
