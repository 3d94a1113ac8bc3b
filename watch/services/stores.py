"""This process's own clients of the two Redis servers, for questions that must not wait long."""

from __future__ import annotations

from functools import lru_cache

from celery import current_app
from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NotConnected
from redis.retry import Retry

TIMEOUT = 2.0  # seconds, for connecting and for each answer


def live() -> Redis:
    """The live store. Raises redis.RedisError when used while it is unreachable."""
    return _client(settings.LIVE_URL)


def broker() -> Redis:
    """Celery's broker. Raises redis.RedisError when used while it is unreachable."""
    return _client(str(current_app.conf.broker_url))


@lru_cache(maxsize=4)
def _client(url: str) -> Redis:
    # One retry, at once: after a restart of Redis the pooled connection is dead, and only using it shows that.
    return Redis.from_url(
        url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 1, (NotConnected,))
    )
