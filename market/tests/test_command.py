"""`manage.py run_heartbeat` as the process it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest
from django.conf import settings
from django.db import connection
from redis import Redis

from engine.candles import MINUTE_MS
from exchanges.simulator import SimulatorConfig, ThreadedSimulator, running_in_thread
from market import watermark
from market.candles import load_candles
from market.models import CandleRevision, HeartbeatStatus, Ticker, Universe
from market.tests.conftest import PATIENCE

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


@contextmanager
def heartbeat_process(simulator: ThreadedSimulator) -> Iterator[subprocess.Popen[bytes]]:
    database = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
    environment = os.environ | {"DATABASE_URL": database.geturl(), "SIMULATOR_URL": simulator.rest_url}
    process = subprocess.Popen([sys.executable, "manage.py", "run_heartbeat"], cwd=settings.BASE_DIR, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE)


def wait_for(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_complete(simulator: ThreadedSimulator) -> bool:
    reached = watermark.read().get("1m")
    return reached is not None and reached.timestamp() * 1000 == simulator.status()["serverTime"]


def test_killed_it_loses_nothing_and_told_to_end_it_ends(live: Redis) -> None:
    Universe.objects.create(exchange="simulated", quote_assets="", maximum_tickers=3)
    with running_in_thread(SimulatorConfig(tickers=8, stepped=True)) as simulator:
        with heartbeat_process(simulator) as first:
            wait_for(lambda: is_complete(simulator))
            simulator.advance(1)
            first.kill()
        simulator.advance(2)

        with heartbeat_process(simulator) as second:
            wait_for(lambda: is_complete(simulator))
            wait_for(lambda: HeartbeatStatus.objects.filter(is_connected=True, stopped_at=None).exists())
            simulator.advance(1)
            wait_for(lambda: is_complete(simulator))
            second.send_signal(signal.SIGTERM)
            assert second.wait(PATIENCE) == 0

    status = HeartbeatStatus.objects.get()
    assert not status.is_connected
    assert status.stopped_at is not None
    for ticker in Ticker.objects.active():
        opens = load_candles(ticker.pk, "1m", limit=10_000).open_time
        assert len(opens) == 1_004
        assert (np.diff(opens) == MINUTE_MS).all()
    assert not CandleRevision.objects.exists()
