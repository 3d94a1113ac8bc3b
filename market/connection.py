"""This process's connection to the live store (settings.LIVE_URL): candles, watermark and the market's clock."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import TimeoutError as NoAnswer
from redis.retry import Retry

_TIMEOUT = 2.0  # seconds
# A Redis that hangs would otherwise cost every task of a sweep the whole time-out, several times over.
_PAUSE_AFTER_NO_ANSWER = 5.0


class _LiveStore(Redis):
    """After a command without an answer, those of the next seconds fail at once: their callers do without the store."""

    _paused_until = 0.0

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if time.monotonic() < self._paused_until:
            raise NoAnswer("the live store did not answer a moment ago")
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except NoAnswer:
            self._paused_until = time.monotonic() + _PAUSE_AFTER_NO_ANSWER
            raise


def live_store() -> Redis:
    """The client of this process. Raises redis.RedisError when used while the store is unreachable."""
    return _client(settings.LIVE_URL)


@lru_cache(maxsize=2)
def _client(url: str) -> Redis:
    # redis-py's pool notices a fork, so a prefork child never shares its parent's socket. One retry, at once: after
    # a restart of Redis the pooled connection is dead, and only using it shows that.
    retry = Retry(NoBackoff(), 1, supported_errors=(NotConnected,))
    return _LiveStore.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=retry)
