"""The web under a role of its own: it does all of its work, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
from psycopg2 import errors

from workers.connections import TIME_OUTS
from workers.product import Product, running_product
from workers.tests.test_connections import receipts, send_sweep
from workers.tests.test_end_to_end import Listener, demo_passwords, to_ms

pytestmark = pytest.mark.processes

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TICKERS = 4


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """Every process under the owner's role but the web, which has its own."""
    with running_product(tmp_path_factory.mktemp("logs")) as product:
        product.start_simulator("--stepped", "--start-at", START.isoformat(), "--tickers", str(TICKERS))
        product.passwords = demo_passwords(product.manage("bootstrap"))
        product.sweep_by_hand()
        owner = urlsplit(product.values["DATABASE_URL"])
        own = f"postgres://the-web:a%2Fsecret'@127.0.0.1:{owner.port}{owner.path}"
        product.values["WEB_DATABASE_URL"] = own
        assert "the-web" in product.manage("create_web_role")
        product.manage("create_web_role")  # again: nothing is there twice
        product.start("heartbeat", "worker-sweep", "worker-default")
        product.start_web("web", int(product.values["WEB_PORT"]), DATABASE_URL=own)
        product.wait_for("the backfill", lambda: product.watermark("2m") >= to_ms(START))
        yield product


@pytest.fixture
def web(product: Product) -> Iterator[Any]:
    """A connection as the web opens it."""
    connection = psycopg2.connect(product.values["WEB_DATABASE_URL"])
    connection.autocommit = True
    yield connection.cursor()
    connection.close()


def test_every_page_socket_and_admin_list_works(product: Product) -> None:
    port = int(product.values["WEB_PORT"])
    address = f"http://127.0.0.1:{port}"
    alice = product.log_in("alice", product.passwords["alice"], port)
    listener = Listener(product.open_socket(alice, port))

    slot = send_sweep(product, 2)
    product.wait_for("the receipts", lambda: receipts(product, slot) == TICKERS)
    product.wait_for("signals in the browser", lambda: listener.of("signal"))
    listener.close()
    again = Listener(product.open_socket(alice, port, f"?since={to_ms(slot)}"))
    product.wait_for("the replay", lambda: again.of("signal"))
    again.close()

    matrix = alice.get(f"{address}/api/matrix/", timeout=30).json()
    assert len(matrix["cells"]) > 0
    for path in ("/", "/following/", "/api/calls/", f"/api/candles/{matrix['tickers'][0][1]}/2m/"):
        assert alice.get(address + path, timeout=30).status_code == 200
    token = alice.cookies["csrftoken"]
    saved = alice.post(f"{address}/following/default/", {"csrfmiddlewaretoken": token}, timeout=30)
    assert saved.status_code == 200
    oscar = product.log_in("oscar", product.passwords["oscar"], port)
    index = oscar.get(f"{address}/admin/", timeout=30).text
    lists = sorted(set(re.findall(r'href="(/admin/\w+/\w+/)"', index)))
    assert len(lists) > 10
    assert {path: oscar.get(address + path, timeout=30).status_code for path in lists} == dict.fromkeys(lists, 200)
    edited = oscar.post(
        f"{address}/admin/market/universe/1/change/",
        {"csrfmiddlewaretoken": oscar.cookies["csrftoken"], "exchange": "simulated", "quote_assets": "USDT",
         "minimum_volume": "0", "maximum_tickers": "77", "include": "", "exclude": ""},
        timeout=30,
    )  # fmt: skip
    assert edited.status_code == 200
    assert product.query("SELECT maximum_tickers FROM market_universe") == [(77,)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE signals_call SET price = 1",
        "DELETE FROM signals_call",
        "TRUNCATE signals_call",
        "INSERT INTO signals_sweep DEFAULT VALUES",
        "DELETE FROM signals_signalresult",
        "UPDATE signals_latestsignal SET signal = 'BUY'",
        "UPDATE market_candle SET close = 1",
        "UPDATE market_ticker SET symbol = 'X'",
        "UPDATE signals_configuration SET version = 2",
        "ALTER TABLE signals_call DISABLE TRIGGER ALL",
        "DROP TABLE accounts_notification",
        "CREATE TABLE mine (id int)",
        "CREATE ROLE another",
        "COPY accounts_user TO '/dev/null'",
        "SELECT rolpassword FROM pg_authid",
    ],
)
def test_what_is_not_the_webs_is_refused(web: Any, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        web.execute(statement)


def test_its_time_outs_belong_to_the_role_wherever_it_connects_from(web: Any) -> None:
    for name, value in TIME_OUTS["web"].settings().items():
        web.execute(f"SHOW {name}")
        assert web.fetchone() == (value,)
