"""What goes wrong: each fault as a function of the stage. It returns when the fault is over; from then on time counts."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg2

from workers.chaos import poison
from workers.chaos.stage import Stage

# The record's worker does one thing at a time, and may have a record to make or calls to score in hand.
RECORD_WITHIN = 240.0
FIND_WAITING_RECORD = """
SELECT 1 FROM pg_stat_activity JOIN pg_locks USING (pid)
WHERE application_name = 'worker-record' AND relation = 'accounts_notification'::regclass AND NOT granted
"""

CleanUp = Callable[[], None]
Inflict = Callable[[Stage], CleanUp | None]

NO_SLOT = "No slot is missed or run twice"
NO_WORK = "A crash of any process loses nothing"
NO_REDIS = "Redis may vanish"
NO_POSTGRES = "Postgres may crash"
NO_EXCHANGE = "The exchange may fail"
NO_POISON = "Poison costs itself alone"
NO_READER = "A slow reader hurts nobody"
NO_DEPLOY = "Deploys are invisible"


@dataclass(frozen=True)
class Fault:
    """`inflict` may return what must be cleared away after the checks. `at`: the moments at which it strikes, in turn.

    `is_unseen`: nothing may go wrong even while the fault lasts.
    `within`: seconds after its end in which everything must be normal.
    """

    name: str
    promise: str
    what: str
    inflict: Inflict
    rounds: int
    at: tuple[str, ...] = ("sweep", "any", "candle")
    within: float = 30.0
    is_unseen: bool = False
    is_short: bool = False


def _kill(name: str) -> Inflict:
    def inflict(stage: Stage) -> None:
        stage.installation.kill(name)

    return inflict


def _kill_child(stage: Stage) -> None:
    stage.installation.kill_child("worker-sweep", stage.chance)


def _kill_supervisor(stage: Stage) -> None:
    stage.installation.kill_supervisor()


def _double(name: str, seconds: float) -> Inflict:
    def inflict(stage: Stage) -> None:
        second = f"{name}-2"
        stage.installation.product.launch_again(name, second)
        time.sleep(seconds)
        stage.installation.product.kill(second)

    return inflict


def _empty(name: str) -> Inflict:
    def inflict(stage: Stage) -> None:
        stage.installation.empty(name)

    return inflict


def _freeze(name: str, seconds: float) -> Inflict:
    def inflict(stage: Stage) -> None:
        stage.installation.freeze(name)
        try:
            time.sleep(seconds)
        finally:
            stage.installation.thaw(name)

    return inflict


def _crash_postgres(stage: Stage) -> None:
    stage.installation.send("postgres", signal.SIGQUIT)  # what `pg_ctl stop -m immediate` sends


def _exchange(seconds: float, **faults: int | bool) -> Inflict:
    def inflict(stage: Stage) -> None:
        stage.installation.exchange_fault(**faults)
        try:
            time.sleep(seconds)
        finally:
            stage.installation.mend_exchange()

    return inflict


def _roll(stage: Stage) -> CleanUp:
    """Every process but the stores is asked to end, one after the other, as a deploy does; 200 sockets are open."""
    more = 200 - len(stage.audience.watchers)
    crowd = stage.audience.seat(stage.cookies[number % len(stage.cookies)] for number in range(more))
    stage.installation.wait_for("200 sockets", lambda: all(one.since for one in crowd), 60)
    for name in ("heartbeat", "worker-sweep", "worker-default", "worker-record", "beat", "flower", "web"):
        before = stage.installation.pid(name)
        stage.installation.send(name, signal.SIGTERM)
        is_new = _is_replaced(stage, name, before)
        stage.installation.wait_for(f"another {name}", is_new, 60)
        time.sleep(stage.chance.uniform(1, stage.period))
    return lambda: stage.audience.dismiss(crowd)


def _is_replaced(stage: Stage, name: str, before: int | None) -> Callable[[], bool]:
    return lambda: stage.installation.pid(name) not in (None, before)


def _stop_reading(stage: Stage) -> None:
    """Five browsers that ask for everything there is and then read nothing, for half a minute."""
    with contextlib.ExitStack() as readers:
        for cookie in stage.cookies[:5]:
            readers.enter_context(_silent_reader(stage, cookie))
        time.sleep(30)


@contextlib.contextmanager
def _silent_reader(stage: Stage, cookie: str) -> Iterator[None]:
    place = urlsplit(stage.audience.url)
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        plain.connect((place.hostname, place.port))
        since = int(stage.since.timestamp() * 1000)
        words = [
            f"GET {place.path}?since={since} HTTP/1.1",
            f"Host: {place.netloc}",
            f"Origin: http://{place.netloc}",
            f"Cookie: sessionid={cookie}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ]
        plain.sendall("\r\n".join([*words, "", ""]).encode())
        yield


def _dose(*names: str) -> Inflict:
    """Doses that are each taken once, at the next candle; over when the last one has been taken."""

    def inflict(stage: Stage) -> None:
        folder = poison.doses(stage.installation.folder)
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / name).touch()
        stage.installation.wait_for("somebody who takes the poison", lambda: not any(folder.iterdir()), 90)

    return inflict


def _raise_always(stage: Stage) -> None:
    folder = poison.doses(stage.installation.folder)
    folder.mkdir(exist_ok=True)
    dose = folder / poison.FOR_EVER
    dose.touch()
    try:
        time.sleep(70)  # at least one candle for every ticker
    finally:
        dose.unlink()


def _spoil_candles(stage: Stage) -> None:
    """What the store holds of three tickers is no candles any more: cut short, not finite, out of order."""
    live = stage.installation.product.live
    spoils: tuple[Callable[[bytes], bytes], ...] = (
        lambda held: held[:-7],
        lambda held: held[:-480] + b"\xff" * 480,
        lambda held: held[48:] + held[:48],
    )
    tickers = stage.query("SELECT id FROM market_ticker WHERE is_followed ORDER BY id LIMIT %s", len(spoils))
    for (ticker_id,), spoil in zip(tickers, spoils, strict=True):
        key = f"candles:{ticker_id}:1m"
        held = live.get(key)
        assert isinstance(held, bytes)
        live.set(key, spoil(held))


@contextlib.contextmanager
def _two_prunes(stage: Stage) -> Iterator[list[str]]:
    """The record's worker waits for a lock amid a prune, as one beside a long report may, and another waits behind it.

    Gives their ids.
    """
    product = stage.installation.product
    with contextlib.closing(psycopg2.connect(product.values["DATABASE_URL"])) as connection:
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE accounts_notification IN ACCESS EXCLUSIVE MODE")
        yield [product.celery.send_task("signals.tasks.prune", queue="record").id for _ in range(2)]
        connection.rollback()


def _block_prunes(stage: Stage) -> None:
    with _two_prunes(stage):
        time.sleep(30)


def _kill_record(stage: Stage) -> None:
    """What the worker had in hand is gone until beat sends it again; what waited its successor must do."""
    done = "SELECT 1 FROM django_celery_results_taskresult WHERE task_id = %s AND status = 'SUCCESS'"
    wait_for = stage.installation.wait_for
    with _two_prunes(stage) as (_, waiting):
        wait_for("a prune that waits for the lock", lambda: stage.query(FIND_WAITING_RECORD), RECORD_WITHIN)
        stage.installation.kill("worker-record")
    wait_for("the prune that waited, by another worker", lambda: stage.query(done, waiting), RECORD_WITHIN)


FAULTS = (
    Fault("worker-child", NO_WORK, "kill -9 of one process of the sweep worker", _kill_child, 2, ("sweep", "candle")),
    Fault("worker", NO_WORK, "kill -9 of the whole sweep worker", _kill("worker-sweep"), 3, is_short=True),
    Fault("worker-default", NO_WORK, "kill -9 of the default worker", _kill("worker-default"), 1),
    Fault("worker-record", NO_WORK, "kill -9 of the record's worker amid a prune, another waits", _kill_record, 1, ("any",)),
    Fault("beat", NO_SLOT, "kill -9 of beat", _kill("beat"), 3, ("any", "sweep")),
    Fault("two-beats", NO_SLOT, "a second beat for 20 s", _double("beat", 20), 1, ("any",), is_unseen=True, is_short=True),
    Fault("two-prunes", NO_SLOT, "two prunes that wait for a lock for 30 s", _block_prunes, 1, ("any",), is_unseen=True),
    Fault("web", NO_WORK, "kill -9 of the web", _kill("web"), 2, ("candle", "any"), is_short=True),
    Fault("heartbeat", NO_WORK, "kill -9 of the heartbeat", _kill("heartbeat"), 2, ("candle", "any")),
    Fault("two-heartbeats", NO_WORK, "a second heartbeat for 65 s", _double("heartbeat", 65), 1, ("any",), is_unseen=True),
    Fault("supervisor", NO_WORK, "kill -9 of the supervisor; another is started", _kill_supervisor, 1, ("any",), within=60),
    Fault("broker-empty", NO_REDIS, "the broker dies and comes back empty", _empty("broker"), 2, is_short=True),
    Fault("live-empty", NO_REDIS, "the live store dies and comes back empty", _empty("live"), 2, ("candle", "sweep"), is_short=True),
    Fault("broker-frozen", NO_REDIS, "the broker hangs for 60 s", _freeze("broker", 60), 1, ("any",)),
    Fault("live-frozen", NO_REDIS, "the live store hangs for 60 s", _freeze("live", 60), 1, ("any",)),
    Fault("postgres", NO_POSTGRES, "immediate stop of Postgres", _crash_postgres, 2, ("candle", "any")),
    Fault("exchange-slow", NO_EXCHANGE, "replies 5 s late, stream cut", _exchange(30, latency_ms=5000, cut=True), 1),
    Fault("exchange-429", NO_EXCHANGE, "429 for 20 s, stream cut", _exchange(20, status=429, retry_after=5, cut=True), 1),
    Fault("exchange-418", NO_EXCHANGE, "418 for 20 s, stream cut", _exchange(20, status=418, retry_after=10, cut=True), 1),
    Fault("exchange-cut", NO_EXCHANGE, "every stream cut", _exchange(0, cut=True), 1, ("candle", "any")),
    Fault("exchange-silent", NO_EXCHANGE, "streams silent for 60 s, open", _exchange(60, is_silent=True), 1, ("any",)),
    Fault("exchange-garbage", NO_EXCHANGE, "500 frames of garbage", _exchange(10, garbled_frames=500), 1, ("candle",)),
    Fault("poison-raises", NO_POISON, "an algorithm that always raises, for 70 s", _raise_always, 1, ("any",)),
    Fault("poison-exits", NO_POISON, "an algorithm that kills its process, three times", _dose("exit-1", "exit-2", "exit-3"), 1, ("any",)),
    Fault("poison-loops", NO_POISON, "an algorithm that never ends and swallows the soft limit", _dose("loop-1"), 1, ("any",)),
    Fault("poison-candles", NO_POISON, "garbage for candles in the store, three tickers", _spoil_candles, 1, ("any",)),
    Fault("slow-reader", NO_READER, "five sockets that stop reading for 30 s", _stop_reading, 1, ("any",), is_unseen=True),
    Fault("rolling-restart", NO_DEPLOY, "SIGTERM of every process in turn, 200 sockets open", _roll, 1, ("any",)),
)  # fmt: skip
