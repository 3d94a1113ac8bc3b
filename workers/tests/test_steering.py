"""What keeps sweeps going does not wait behind them."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from workers.product import running_product

pytestmark = pytest.mark.processes

WAITING = 500


def test_steering_does_not_wait_behind_a_long_sweep(tmp_path: Path) -> None:
    with running_product(tmp_path) as product, Redis.from_url(product.values["BROKER_URL"]) as broker:
        for _ in range(WAITING):
            product.send("evaluate_tickers", sweep_id=0, ticker_ids=[])  # there is no such sweep: it fails at once
        product.send("close_sweeps")
        assert (broker.llen("sweep"), broker.llen("steering")) == (WAITING, 1)

        product.start("worker-sweep")
        product.wait_for("the steering task", lambda: not broker.llen("steering"))

        assert int(str(broker.llen("sweep"))) > WAITING // 2
