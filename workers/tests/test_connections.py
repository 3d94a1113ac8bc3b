"""How long a process may hold Postgres up, and how many connections all of them open."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg2
import pytest
import requests
from django.conf import settings
from django.db import connection

from live.lifespan import THREADS, URGENT_THREADS
from workers import resp
from workers.connections import SPARE_CONNECTIONS, TIME_OUTS, TimeOuts, time_outs
from workers.connections import most_connections as most_of
from workers.product import Product, running_product
from workers.supervisor import programs
from workers.tests.compose import SERVICES
from workers.tests.test_end_to_end import demo_passwords, to_ms

# With the web's real number of threads.
most_connections = partial(most_of, socket_threads=THREADS + URGENT_THREADS)
START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TICKERS = 12


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with running_product(tmp_path_factory.mktemp("logs")) as product:
        product.start_simulator("--stepped", "--start-at", START.isoformat(), "--tickers", str(TICKERS))
        product.passwords = demo_passwords(product.manage("bootstrap"))
        product.sweep_by_hand()
        product.start("heartbeat", "worker-sweep", "worker-default", "worker-record", "beat")
        product.start_web("web", int(product.values["WEB_PORT"]))
        product.wait_for("the backfill", lambda: product.watermark("2m") >= to_ms(START))
        yield product


def send_sweep(product: Product, minutes: int) -> datetime:
    """Moves the market on to the next slot and sends its sweep; gives the slot."""
    slot_ms = product.watermark("2m") + minutes * 60_000
    product.advance(minutes)
    product.wait_for("the watermark", lambda: product.watermark("2m") >= slot_ms)
    slot = datetime.fromtimestamp(slot_ms / 1000, UTC)
    product.send("central_sweep", slot=slot.isoformat())
    return slot


def status_of(product: Product, slot: datetime) -> str:
    found = product.query("SELECT status FROM signals_sweep WHERE slot = %s", slot)
    return found[0][0] if found else ""


def receipts(product: Product, slot: datetime) -> int:
    return int(product.query("SELECT count(*) FROM signals_tickerrun WHERE slot = %s", slot)[0][0])


@contextlib.contextmanager
def locked(product: Product, table: str, mode: str) -> Iterator[Any]:
    """Another session, which locks the table until it is closed."""
    other = psycopg2.connect(product.values["DATABASE_URL"])
    try:
        other.cursor().execute(f"LOCK TABLE {table} IN {mode} MODE")
        yield other
    finally:
        other.close()


@pytest.mark.django_db
def test_all_that_make_run_starts_leaves_connections_free() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW max_connections")
        allowed = int(cursor.fetchone()[0])

    most = most_connections(requests_at_once=settings.WEB_REQUESTS_AT_ONCE)

    assert sum(most.values()) <= allowed - SPARE_CONNECTIONS


def test_all_that_compose_starts_leaves_connections_free_also_scaled_as_its_head_says() -> None:
    match = re.search(r"max_connections=(\d+)", SERVICES["postgres"]["command"])
    assert match is not None

    most = most_connections(requests_at_once=settings.WEB_REQUESTS_AT_ONCE, webs=2, sweep_workers=4)

    assert sum(most.values()) <= int(match[1]) - SPARE_CONNECTIONS


def test_every_process_of_make_run_is_counted() -> None:
    values = dict(os.environ) | {"FLOWER_PORT": "1", "WEB_HOST": "127.0.0.1", "WEB_PORT": "2", "EXCHANGE": "binance"}

    started = {program.name for program in programs(values)}

    assert started
    assert all(any(name.startswith(kind) for kind in most_connections(requests_at_once=1)) for name in started)


def test_more_processes_may_open_more() -> None:
    one = most_connections(requests_at_once=30)

    assert most_connections(requests_at_once=30, webs=3)["web"] == 3 * one["web"]
    assert most_connections(requests_at_once=31)["web"] == one["web"] + 1
    assert most_connections(requests_at_once=30, concurrency=8)["worker"] > one["worker"]
    assert one["worker"] == 2 * 3 + 2  # two workers of two processes, the record's of one, and their parents
    assert most_connections(requests_at_once=30, record_workers=2)["worker"] == one["worker"] + 2


def test_each_thread_of_the_web_that_asks_is_counted_once() -> None:
    assert most_connections(requests_at_once=30)["web"] == 30 + THREADS + URGENT_THREADS + 3
    assert most_of(requests_at_once=30, socket_threads=7)["web"] == 30 + 7 + 3


def test_a_name_belongs_to_the_time_outs_of_its_kind_and_a_command_has_none() -> None:
    assert time_outs("worker-record") == time_outs("worker-default") == time_outs("worker-sweep") == TIME_OUTS["worker"]
    assert time_outs("web-2") == TIME_OUTS["web"]
    assert time_outs("migrate") == time_outs("boritrader") == TimeOuts()
    assert TIME_OUTS["worker"].statement < 30  # the tasks' soft limit


@pytest.mark.processes
def test_the_real_processes_stay_within_their_connections_while_200_ask_at_once(product: Product) -> None:
    port = int(product.values["WEB_PORT"])
    cookies = product.log_in("alice", product.passwords["alice"], port).cookies.get_dict()
    seen: Counter[str] = Counter()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            for name, count in product.query(
                "SELECT application_name, count(*) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND application_name <> '' GROUP BY 1"
            ):
                seen[name] = max(seen[name], count)
            time.sleep(0.05)

    def ask(_: int) -> int:
        return requests.get(f"http://127.0.0.1:{port}/api/matrix/", cookies=cookies, timeout=60).status_code

    looking = threading.Thread(target=look)
    looking.start()
    try:
        slot = send_sweep(product, 2)
        with ThreadPoolExecutor(200) as pool:
            answers = Counter(pool.map(ask, range(400)))
        product.wait_for("the receipts", lambda: receipts(product, slot) == TICKERS)
    finally:
        stop.set()
        looking.join(10)

    assert answers == {200: 400}
    most = most_connections(requests_at_once=settings.WEB_REQUESTS_AT_ONCE)
    found = {kind: sum(count for name, count in seen.items() if name.startswith(kind)) for kind in most}
    assert all(found[kind] <= most[kind] for kind in most), found
    assert sum(found.values()) == seen.total(), seen  # nobody else asks
    assert found["web"] > 5  # the rush was one


@pytest.mark.processes
def test_a_page_that_waits_for_a_lock_is_given_up_and_the_next_one_is_shown(product: Product) -> None:
    port = int(product.values["WEB_PORT"])
    browser = product.log_in("alice", product.passwords["alice"], port)
    matrix = f"http://127.0.0.1:{port}/api/matrix/"

    with locked(product, "signals_latestsignal", "ACCESS EXCLUSIVE"):
        given_up = browser.get(matrix, timeout=60)  # answered while the lock is still held
        waiting = product.query("SELECT count(*) FROM pg_locks WHERE NOT granted")

    assert given_up.status_code >= 500
    assert waiting == [(0,)]
    assert browser.get(matrix, timeout=60).status_code == 200


@pytest.mark.processes
def test_a_task_whose_statement_was_cut_is_sent_again_and_nothing_is_lost(product: Product) -> None:
    before = send_sweep(product, 2)  # makes the day's partitions
    product.wait_for("the receipts", lambda: receipts(product, before) == TICKERS)

    with locked(product, "signals_tickerrun", "SHARE"):
        slot = send_sweep(product, 2)
        product.wait_for("a cut", lambda: "lock timeout" in product.log_of("worker-sweep"))
    product.wait_for("an empty queue", lambda: resp.ask(product.values["BROKER_URL"], "LLEN", "sweep") == 0)
    product.query("UPDATE signals_sweep SET started_at = started_at - interval '31 s' WHERE slot = %s", slot)

    def is_closed() -> bool:
        product.send("close_sweeps")
        return status_of(product, slot) == "closed"

    product.wait_for("the end of the sweep", is_closed)
    assert product.query("SELECT ok, missing FROM signals_sweep WHERE slot = %s", slot) == [(TICKERS, 0)]
    assert product.query("SELECT resent_at IS NOT NULL FROM signals_sweep WHERE slot = %s", slot) == [(True,)]
