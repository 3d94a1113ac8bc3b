"""The way of the data, by the real processes: exchange, heartbeat, worker, two web processes, WebSockets."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from engine import registry
from engine.candles import Candles
from engine.evaluate import verdict
from workers.embedded import free_port
from workers.product import Product, running_product

pytestmark = pytest.mark.processes

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SWEEPS = 4
ALGORITHMS = len(registry.all_algorithms())
Identity = tuple[int, str, int]


class Listener:
    """Everything one socket hears, kept in the order in which it came."""

    def __init__(self, socket: ClientConnection) -> None:
        self.frames: list[dict[str, Any]] = []
        self._socket = socket
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            for frame in self._socket:
                self.frames.append(json.loads(frame))
        except ConnectionClosed:
            return

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == kind]

    def close(self) -> None:
        self._socket.close()
        self._thread.join(10)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with running_product(tmp_path_factory.mktemp("logs")) as product:
        product.start_simulator("--stepped", "--start-at", START.isoformat(), "--tickers", "12")
        product.passwords = demo_passwords(product.manage("bootstrap"))
        product.sweep_by_hand()
        product.start("heartbeat", "worker-sweep", "worker-default")
        product.start_web("web-1", int(product.values["WEB_PORT"]))
        product.second_port = free_port()
        product.start_web("web-2", product.second_port)
        product.wait_for("the backfill", lambda: product.watermark("2m") >= to_ms(START))
        yield product


def demo_passwords(printed: str) -> dict[str, str]:
    return dict(re.findall(r"demo +(\w+) +(\S+)", printed))


def to_ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def sweep(product: Product, slot_ms: int, listeners: list[Listener]) -> None:
    """One central sweep through real Celery, until every listener has heard of its end."""
    slot = datetime.fromtimestamp(slot_ms / 1000, UTC)
    product.wait_for("the watermark", lambda: product.watermark("2m") >= slot_ms)
    product.send("central_sweep", slot=slot.isoformat())

    def is_closed() -> bool:
        product.send("close_sweeps")
        return all(any(f["slot"] == slot_ms for f in listener.of("sweep_closed")) for listener in listeners)

    product.wait_for(f"the end of the sweep of {slot}", is_closed)


class Engine:
    """The same verdicts, computed here from the stored candles and configurations."""

    def __init__(self, product: Product) -> None:
        stored = product.query(
            "SELECT symbol, timeframe, extract(epoch FROM open_time) * 1000, open, high, low, close, volume "
            "FROM market_candle JOIN market_ticker ON market_ticker.id = ticker_id ORDER BY open_time"
        )
        rows: dict[tuple[str, str], list[tuple[float, ...]]] = defaultdict(list)
        for symbol, timeframe, *values in stored:
            rows[symbol, timeframe].append(tuple(values))
        self._candles = {key: Candles.from_rows(np.array(value, np.float64), key[1]) for key, value in rows.items()}
        found = product.query("SELECT id, parameters FROM signals_configuration")
        self._parameters = {pk: value if isinstance(value, dict) else json.loads(value) for pk, value in found}

    def computes(self, frame: dict[str, Any]) -> dict[str, Any]:
        candles = self._candles[frame["ticker"], frame["timeframe"]].up_to(frame["closed_at"])
        one = verdict(registry.get(frame["algorithm"]), self._parameters[frame["configuration"]], candles)
        return {"signal": one.signal.value, "value": one.value, "price": one.price, "reason": one.reason}


def identity(frame: dict[str, Any]) -> Identity:
    return frame["configuration"], frame["ticker"], frame["closed_at"]


def test_every_socket_of_two_web_processes_gets_every_verdict_once_and_as_the_engine_computes_it(
    product: Product,
) -> None:
    ports = [int(product.values["WEB_PORT"]), product.second_port]
    browser = product.log_in("alice", product.passwords["alice"], ports[0])
    listeners = [Listener(product.open_socket(browser, port)) for port in ports]
    product.wait_for("hello", lambda: all(listener.of("hello") for listener in listeners))

    for number in range(SWEEPS):
        sweep(product, to_ms(START) + number * 120_000, listeners)
        product.advance(2)

    [(stored,)] = product.query("SELECT count(*) FROM signals_signalresult")
    covered = len(product.query("SELECT id FROM market_ticker WHERE is_followed"))
    assert stored == covered * ALGORITHMS * (10 + SWEEPS - 1)
    for listener in listeners:
        counts = Counter(identity(frame) for frame in listener.of("signal"))
        assert len(counts) == stored
        assert set(counts.values()) == {1}
        assert [frame["slot"] for frame in listener.of("sweep_closed")] == [
            to_ms(START) + number * 120_000 for number in range(SWEEPS)
        ]
        listener.close()
    engine = Engine(product)
    for frame in listeners[0].of("signal"):
        computed = engine.computes(frame)
        assert {key: frame[key] for key in computed} == computed
    calls = {identity(frame) for frame in listeners[0].of("signal") if frame["is_call"]}
    assert len(calls) == len(product.query("SELECT id FROM signals_call")) > 0


def test_a_socket_that_was_away_gets_what_it_missed(product: Product) -> None:
    port = int(product.values["WEB_PORT"])
    browser = product.log_in("alice", product.passwords["alice"], port)
    since = to_ms(START) + (SWEEPS - 2) * 120_000

    listener = Listener(product.open_socket(browser, port, f"?since={since}"))
    product.wait_for("the replay", lambda: listener.of("replayed"))

    missed = product.query(
        "SELECT configuration_id, symbol, (extract(epoch FROM candle_closed_at) * 1000)::bigint FROM signals_signalresult "
        "JOIN market_ticker ON market_ticker.id = ticker_id WHERE slot >= to_timestamp(%s)",
        since / 1000,
    )
    assert {identity(frame) for frame in listener.of("signal")} == set(missed)
    assert listener.of("replayed")[0]["count"] == len(missed) > 0
    listener.close()


def test_a_free_user_gets_what_the_plan_follows_and_nothing_private(product: Product) -> None:
    port = int(product.values["WEB_PORT"])
    browser = product.log_in("bob", product.passwords["bob"], port)
    listener = Listener(product.open_socket(browser, port))
    product.wait_for("hello", lambda: listener.of("hello"))

    sweep(product, to_ms(START) + SWEEPS * 120_000, [listener])

    assert len({frame["algorithm"] for frame in listener.of("signal")}) == 3
    assert {frame["feed"] for frame in listener.of("signal")} == {"central"}
    listener.close()


def test_a_worker_killed_in_a_sweep_costs_nothing(product: Product) -> None:
    port = product.second_port
    browser = product.log_in("alice", product.passwords["alice"], port)
    listener = Listener(product.open_socket(browser, port))
    product.advance(2)
    slot = to_ms(START) + (SWEEPS + 1) * 120_000
    product.wait_for("the watermark", lambda: product.watermark("2m") >= slot)

    product.kill("worker-sweep")
    product.send("central_sweep", slot=datetime.fromtimestamp(slot / 1000, UTC).isoformat())
    product.start("worker-sweep")
    product.wait_for(
        "the sweep",
        lambda: product.query("SELECT 1 FROM signals_sweep WHERE slot = to_timestamp(%s)", slot / 1000),
    )
    product.kill("worker-sweep")
    product.query("UPDATE signals_sweep SET started_at = started_at - interval '31 seconds' WHERE status = 'open'")
    product.start("worker-sweep")
    sweep(product, slot, [listener])

    [(expected,)] = product.query("SELECT count(*) FROM market_ticker WHERE is_followed")
    [(ok, missing)] = product.query("SELECT ok, missing FROM signals_sweep WHERE slot = to_timestamp(%s)", slot / 1000)
    assert (ok, missing) == (expected, 0)
    found = Counter(identity(frame) for frame in listener.of("signal") if frame["closed_at"] == slot)
    assert len(found) == expected * ALGORITHMS
    assert set(found.values()) == {1}
    listener.close()
