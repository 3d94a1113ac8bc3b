"""What this process has delivered, dropped and lost since it started: read by /readyz, /metrics and the benches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Plain numbers, changed without a lock: the event loop is their only writer, except for the `publish` ones."""

    sockets: int = 0  # open now
    waiting: int = 0  # handshakes that wait for a place now
    sent_away: int = 0  # of those, closed with 1013 because they waited too long
    sent: int = 0  # messages handed to the server
    kept: int = 0  # frames that had to wait in front of a slow reader
    dropped: int = 0  # of those, replaced by a newer one of the same line; each socket is told by a `gap` frame
    slow: int = 0  # times a socket's reader fell behind
    too_slow: int = 0  # sockets closed with 4008
    abandoned: int = 0  # frames that still waited for one of those
    gone: int = 0  # sockets whose peer turned out to be gone when something was written to it
    batches: int = 0  # heard from Redis
    malformed: int = 0  # batches or frames in them that could not be read
    repeated: int = 0  # frames known already, left out
    refilled: int = 0  # frames that came from Postgres because no hint of them was heard
    connected: int = 0  # times the relay's Redis connection was made
    refill_failures: int = 0
    lag_seconds: float = 0.0  # of the newest batch, from its publisher's clock to ours; 0 before the first
    looked_at: float = 0.0  # time.time() of the last look into Postgres that succeeded; 0 before the first
    published: int = 0  # batches this process has published
    publish_failures: int = 0  # batches it could not publish


counters = Counters()
