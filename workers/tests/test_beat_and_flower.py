"""Beat stamps what its messages stand for, and two of them do no harm; Flower shows nothing to strangers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

import pytest
import requests

from workers.product import Product, running_product

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with running_product(tmp_path_factory.mktemp("logs")) as product:
        product.start_simulator("--tickers", "5")
        product.manage("bootstrap")
        product.start("heartbeat", "worker-sweep", "worker-default")
        product.wait_for("the backfill", lambda: product.watermark("2m"))
        yield product


def test_two_beats_run_every_slot_once(product: Product) -> None:
    product.query("INSERT INTO django_celery_beat_intervalschedule (every, period) VALUES (3, 'seconds')")
    product.query(
        "UPDATE django_celery_beat_periodictask SET crontab_id = NULL, expire_seconds = 30, "
        "interval_id = (SELECT id FROM django_celery_beat_intervalschedule WHERE every = 3) WHERE name = 'central sweep'"
    )
    product.start("beat")
    product.launch_again("beat", "beat-2")

    product.wait_for(
        "five sweeps", lambda: len(product.query("SELECT 1 FROM signals_sweep WHERE status = 'closed'")) >= 5
    )

    newest = product.query("SELECT slot FROM signals_sweep ORDER BY slot DESC LIMIT 4")
    slots = [slot for (slot,) in newest]
    assert all(slot.timestamp() % 3 == 0 for slot in slots)
    assert {newer - older for newer, older in pairwise(slots)} == {timedelta(seconds=3)}
    doubled = product.query(
        "SELECT configuration_id, ticker_id, candle_closed_at FROM signals_signalresult GROUP BY 1, 2, 3 HAVING count(*) > 1"
    )
    assert doubled == []


def test_flower_shows_workers_and_tasks_to_the_operator_alone(product: Product) -> None:
    flower = f"http://127.0.0.1:{product.values['FLOWER_PORT']}"
    operator = tuple(product.values["FLOWER_BASIC_AUTH"].split(":"))
    product.start("flower")
    product.wait_for("Flower", lambda: product.answers(flower))

    for page in ("/", "/workers", "/tasks", "/api/workers", "/api/tasks"):
        assert requests.get(f"{flower}{page}", timeout=10).status_code == 401, page

    assert requests.get(f"{flower}/tasks", auth=operator, timeout=10).status_code == 200  # type: ignore[arg-type]
    product.wait_for(
        "the worker in Flower",
        lambda: "sweep@" in requests.get(f"{flower}/api/workers?refresh=1", auth=operator, timeout=30).text,  # type: ignore[arg-type]
    )
