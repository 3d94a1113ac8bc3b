"""The product as monitors, logs and the operator's commands see it: by the real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from workers.product import Product, running_product
from workers.tests.test_end_to_end import Listener, demo_passwords
from workers.wheels import CHECKOUT

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SLOT = datetime(2026, 11, 20, 12, 2, tzinfo=UTC)
TOKEN = {"Authorization": "Bearer a-token-of-the-tests"}


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def product(logs: Path) -> Iterator[Product]:
    """Everything runs, logs for programs, and one central sweep has been closed: beat sends it, as it comes due."""
    with running_product(logs, LOG_FORMAT="json", HTTPS="0", METRICS_TOKEN="a-token-of-the-tests") as product:
        product.start_simulator("--tickers", "8")
        product.passwords = demo_passwords(product.manage("bootstrap"))
        product.query("INSERT INTO django_celery_beat_intervalschedule (every, period) VALUES (5, 'seconds')")
        product.query(
            "UPDATE django_celery_beat_periodictask SET crontab_id = NULL, expire_seconds = 30, interval_id = "
            "(SELECT max(id) FROM django_celery_beat_intervalschedule WHERE every = 5) WHERE name = 'central sweep'"
        )
        product.start("heartbeat", "worker-sweep", "worker-default", "worker-record")
        product.start_web("web", int(product.values["WEB_PORT"]))
        product.wait_for("the backfill", lambda: product.watermark("2m"))
        product.start("beat")
        yield product


def page(product: Product) -> str:
    return f"http://127.0.0.1:{product.values['WEB_PORT']}"


def lines(logs: Path, words: str) -> list[dict[str, Any]]:
    """What one grep over all logs finds, each line with the process that wrote it."""
    found = [line for log in sorted(logs.glob("*.log")) for line in log.read_text().splitlines() if words in line]
    return [json.loads(line) for line in found if line.startswith("{")]


def closed(product: Product) -> list[tuple[Any, ...]]:
    return product.query(
        "SELECT id, slot FROM signals_sweep WHERE feed = 'central' AND status = 'closed' AND ok > 0 ORDER BY slot DESC"
    )


def test_one_search_for_a_slot_follows_its_sweep_from_beat_to_the_browsers(product: Product, logs: Path) -> None:
    port = int(product.values["WEB_PORT"])
    browser = product.log_in("alice", product.passwords["alice"], port)
    with product.open_socket(browser, port) as socket:
        listener = Listener(socket)
        product.wait_for("a sweep at the browser", lambda: len(listener.of("sweep_closed")) >= 2)
    heard_ms = listener.of("sweep_closed")[-1]["slot"]
    slot = datetime.fromtimestamp(heard_ms / 1000, UTC).isoformat()
    product.wait_for("the relay's line", lambda: [one for one in lines(logs, slot) if one["process"] == "web"])

    by_process: dict[str, list[dict[str, Any]]] = {}
    for one in lines(logs, slot):
        by_process.setdefault(one["process"], []).append(one)

    [sent] = by_process["beat"]
    assert (sent["event"], sent["task"]) == ("sent central sweep", "signals.tasks.central_sweep")
    worked = by_process["worker-sweep"]
    [sweep_id] = {one["sweep_id"] for one in worked}
    assert {one["feed"] for one in worked} == {"central"}
    [ended] = [one for one in lines(logs, slot) if " closed: 8 tickers" in one["event"]]
    assert (ended["sweep_id"], ended["feed"]) == (sweep_id, "central")
    [delivered] = by_process["web"]
    assert (delivered["feed"], delivered["slot"]) == ("central", slot)
    assert {"time", "level", "logger", "process", "event"} <= set(sent)

    by_id = lines(logs, f'"sweep_id": {sweep_id}')
    assert {slot} == {one["slot"] for one in by_id}


def test_every_line_of_every_process_has_the_one_format_and_no_secret(product: Product, logs: Path) -> None:
    product.wait_for("a closed sweep", lambda: closed(product))
    ours = [logs / f"{name}.log" for name in ("heartbeat", "worker-sweep", "worker-default", "beat", "web")]
    written = {log.stem: log.read_text() for log in ours}

    for name, text in written.items():
        assert text, name
        for line in text.splitlines():
            assert json.loads(line)["process"] == name
    assert "uvicorn" in {json.loads(line)["logger"].partition(".")[0] for line in written["web"].splitlines()}
    everything = "\n".join(written.values())
    secrets = [product.values["SECRET_KEY"], "a-token-of-the-tests", product.passwords["alice"]]
    secrets += [product.values[name].split(":")[2].split("@")[0] for name in ("DATABASE_URL", "BROKER_URL", "LIVE_URL")]
    for secret in secrets:
        assert len(secret) > 8
        assert secret not in everything


def test_it_is_alive_ready_and_measured(product: Product) -> None:
    product.wait_for("readiness", lambda: requests.get(f"{page(product)}/readyz", timeout=10).status_code == 200)

    alive = requests.get(f"{page(product)}/livez", headers={"Host": "whatever.example"}, timeout=10)
    assert (alive.status_code, alive.text) == (200, "ok\n")
    assert requests.get(f"{page(product)}/health/", timeout=10).json()["status"] == "ready"

    def found() -> dict[str, Any]:
        text = requests.get(f"{page(product)}/metrics", headers=TOKEN, timeout=10).text
        return {family.name: family for family in text_string_to_metric_families(text)}

    product.wait_for("the workers' counts", lambda: found()["boritrader_tasks"].samples)
    families = found()
    assert {sample.value for sample in families["boritrader_up"].samples} == {1}
    succeeded = {
        sample.labels["task"]: sample.value
        for sample in families["boritrader_tasks"].samples
        if sample.labels["state"] == "succeeded"
    }
    assert succeeded["signals.tasks.evaluate_tickers"] >= 8
    assert succeeded["signals.tasks.central_sweep"] >= 1
    tickers = {sample.labels["status"]: sample.value for sample in families["boritrader_sweep_tickers"].samples}
    assert tickers["ok"] == 8
    assert 0 <= families["boritrader_beat_age_seconds"].samples[0].value < 60
    assert families["boritrader_exchange_weight_limit"].samples[0].value == 6000
    connected = {sample.labels["process"] for sample in families["boritrader_database_connections"].samples}
    assert {"web", "worker-sweep", "heartbeat"} <= connected

    stranger = {"X-Forwarded-For": "203.0.113.9"}
    assert requests.get(f"{page(product)}/metrics", headers=stranger, timeout=10).status_code == 403
    token = stranger | {"Authorization": "Bearer a-token-of-the-tests"}
    assert requests.get(f"{page(product)}/metrics", headers=token, timeout=10).status_code == 200


def test_the_doctor_finds_everything_well(product: Product) -> None:
    product.wait_for("readiness", lambda: requests.get(f"{page(product)}/readyz", timeout=10).status_code == 200)

    done = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json"],
        cwd=CHECKOUT,
        env={**os.environ, **product.values, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    found = {one["name"]: one for one in json.loads(done.stdout)["checks"]}
    assert [one for one in found.values() if one["state"] in ("failed", "unknown")] == []
    assert done.returncode == 0
    assert "default@" in found["workers"]["words"]
    assert "8 tickers" in found["last sweep"]["words"]


@pytest.mark.parametrize("store", ["postgres", "live", "broker"])
def test_a_store_that_hangs_is_named_within_seconds_and_a_crowd_takes_no_connections(
    product: Product, store: str
) -> None:
    """The last test of the file: what hangs here leaves traces in the others' logs."""
    product.wait_for("readiness", lambda: requests.get(f"{page(product)}/readyz", timeout=10).status_code == 200)
    part = {"postgres": "database"}.get(store, store)
    pids = pids_of(product, store)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(1.5)  # longer than an answer is given again
        began = time.monotonic()
        answers = [requests.get(f"{page(product)}/readyz", timeout=30) for _ in range(20)]
        took = time.monotonic() - began
        metrics = requests.get(f"{page(product)}/metrics", headers=TOKEN, timeout=30).text
        alive = requests.get(f"{page(product)}/livez", timeout=30)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    assert {answer.status_code for answer in answers} == {503}
    assert "no answer" in answers[0].json()["parts"][part]["reason"]
    assert took < 20 * 2  # one waits, the others find that it is waited for
    assert alive.status_code == 200
    assert f'boritrader_up{{part="{part}"}} 0.0' in metrics
    product.wait_for("readiness", lambda: requests.get(f"{page(product)}/readyz", timeout=10).status_code == 200)


def pids_of(product: Product, store: str) -> list[int]:
    """The processes of a store of this product: for Postgres every one that it could answer by."""
    url = product.values[{"postgres": "DATABASE_URL", "live": "LIVE_URL", "broker": "BROKER_URL"}[store]]
    if store != "postgres":
        with Redis.from_url(url) as client:
            return [int(client.info("server")["process_id"])]
    connection = psycopg2.connect(url)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        backends = [int(pid) for (pid,) in cursor.fetchall()]
    connection.close()
    stat = Path(f"/proc/{backends[0]}/stat").read_text()
    postmaster = int(stat.rpartition(")")[2].split()[1])
    return [postmaster, *backends]
