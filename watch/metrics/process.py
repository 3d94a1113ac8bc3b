"""What this web process itself counts: its sockets, its frames, its relay."""

from __future__ import annotations

import platform
import time

from django.conf import settings
from prometheus_client.metrics_core import InfoMetricFamily, Metric

from live.counters import counters
from watch.metrics.families import counter, gauge
from watch.services.readiness import relay_age

# Field of live.counters -> the metric's name and what it says.
COUNTED = {
    "sent": ("frames_sent", "Messages handed to the web server."),
    "kept": ("frames_kept", "Frames that had to wait in front of a slow reader."),
    "dropped": ("frames_dropped", "Of those, replaced by a newer one of the same line."),
    "abandoned": ("frames_abandoned", "Of those, left when the socket was closed."),
    "repeated": ("frames_repeated", "Frames that came twice and were left out."),
    "refilled": ("frames_refilled", "Frames that came from Postgres, because no hint of them was heard."),
    "malformed": ("frames_malformed", "Batches and frames that could not be read."),
    "slow": ("slow_readers", "Times the reader of a socket fell behind."),
    "too_slow": ("sockets_closed_slow", "Sockets closed because their reader stayed behind."),
    "sent_away": ("sockets_sent_away", "Sockets closed because they waited too long to be let in."),
    "gone": ("sockets_gone", "Sockets whose peer was found gone while writing."),
    "batches": ("relay_batches", "Batches heard from Redis."),
    "connected": ("relay_connections", "Times the relay connected to Redis."),
    "refill_failures": ("relay_look_failures", "Looks into Postgres that failed."),
    "published": ("batches_published", "Batches this process published."),
    "publish_failures": ("publish_failures", "Batches this process could not publish."),
}


def look() -> list[Metric]:
    """Everything of this process; asks nobody."""
    build = {"version": settings.VERSION, "python": platform.python_version()}
    families = [
        InfoMetricFamily("boritrader_build", "What runs here.", value=build),
        *gauge("sockets", "WebSockets open in this process.", counters.sockets),
        *gauge("sockets_waiting", "WebSockets that wait to be let in.", counters.waiting),
        *gauge("relay_lag_seconds", "From publishing to hearing, of the newest batch.", counters.lag_seconds),
        *gauge("relay_age_seconds", "Since the relay last looked into Postgres.", relay_age(time.time())),
    ]
    for field, (name, text) in COUNTED.items():
        families += counter(name, text, getattr(counters, field))
    return families
