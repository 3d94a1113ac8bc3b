"""The whole product for a test, a bench or a run of chaos: the real processes, on throwaway stores and free ports."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import requests
from celery import Celery
from redis import Redis
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from workers.embedded import free_port
from workers.processes import kill_group
from workers.supervision import Program
from workers.supervisor import programs, python, web_command
from workers.throwaway import throwaway_stores

PATIENCE = 90.0  # seconds; generous, because a test must fail for what is wrong and not for a slow machine


class Product:
    """Start processes by their names in the supervisor's table; everything ends with `running_product`."""

    passwords: dict[str, str]
    second_port: int

    def __init__(self, values: Mapping[str, str], logs: Path) -> None:
        self.values = dict(values)
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._table = {program.name: program for program in programs(self.values)}
        self.celery = Celery(broker=self.values["BROKER_URL"], set_as_current=False)
        self.live = Redis.from_url(self.values["LIVE_URL"])

    def start(self, *names: str) -> None:
        for name in names:
            self._launch(self._table[name])

    def launch_again(self, name: str, second_name: str) -> None:
        """One more process of the same command."""
        self._launch(dataclasses.replace(self._table[name], name=second_name))

    def start_simulator(self, *arguments: str) -> None:
        port = self.values["SIMULATOR_PORT"]
        self._launch(python("simulator", "manage.py", "run_simulator", "--port", port, *arguments, values=self.values))
        self.wait_for("the simulated exchange", lambda: self.answers(f"{self.values['SIMULATOR_URL']}/api/v3/ping"))

    def start_web(self, name: str, port: int, **variables: str) -> None:
        self._launch(python(name, *web_command("127.0.0.1", str(port)), values=self.values | variables))
        self.wait_for(name, lambda: self.answers(f"http://127.0.0.1:{port}/livez"))

    def start_other(self, program: Program) -> None:
        """A process that is not in the supervisor's table: a yardstick of a bench, say."""
        self._launch(program)

    def kill(self, name: str) -> None:
        """kill -9, the process and all its children."""
        process = self._running.pop(name)
        kill_group(process.pid)
        process.wait()

    def processes(self, name: str) -> list[psutil.Process]:
        """The process of that name and all its children."""
        process = psutil.Process(self._running[name].pid)
        return [process, *process.children(recursive=True)]

    def stop(self) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            kill_group(process.pid)
            process.wait()

    def manage(self, *arguments: str) -> str:
        """Runs a management command to its end; gives what it wrote."""
        program = python("manage", "manage.py", *arguments, values=self.values)
        output = self._logs / "manage.log"
        with output.open("wb") as log:
            process = program.launch(log.fileno())
            code = process.wait(PATIENCE)
        text = output.read_text()
        assert code == 0, text
        return text

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with (
            contextlib.closing(psycopg2.connect(self.values["DATABASE_URL"])) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def send(self, task: str, **arguments: Any) -> None:
        queue = "steering" if task == "close_sweeps" else "sweep"
        self.celery.send_task(f"signals.tasks.{task}", kwargs=arguments, queue=queue)

    def sweep_by_hand(self) -> None:
        """From now on a central slot is run where the test says so, and no other."""
        self.query("UPDATE django_celery_beat_periodictask SET enabled = false WHERE name = 'central sweep'")

    def advance(self, minutes: int) -> None:
        """Moves the stepped market on."""
        requests.post(f"{self.values['SIMULATOR_URL']}/sim/advance?minutes={minutes}", timeout=60).raise_for_status()

    def watermark(self, timeframe: str) -> int:
        """How far (ms since 1970) the heartbeat says the candles are complete."""
        stored = self.live.get("market:watermark:simulated")
        return int(json.loads(stored)["watermarks"].get(timeframe, 0)) if isinstance(stored, bytes) else 0

    def log_in(self, username: str, password: str, port: int) -> requests.Session:
        browser = requests.Session()
        page = f"http://127.0.0.1:{port}/accounts/login/"
        browser.get(page, timeout=10).raise_for_status()
        form = {"username": username, "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        answer = browser.post(page, data=form, timeout=10)
        assert "sessionid" in browser.cookies, answer.text[:2000]
        return browser

    def open_socket(self, browser: requests.Session, port: int, query: str = "") -> ClientConnection:
        return connect(
            f"ws://127.0.0.1:{port}/ws/notifications/{query}",
            origin=Origin(f"http://127.0.0.1:{port}"),
            additional_headers={"Cookie": f"sessionid={browser.cookies['sessionid']}"},
            compression=None,
            max_size=None,
            legacy=True,  # used without `with`: a thread reads it until the test closes it
        )

    @staticmethod
    def answers(url: str) -> bool:
        """Whether somebody answers at all: an unhealthy answer is one."""
        try:
            return requests.get(url, timeout=2).status_code > 0
        except requests.RequestException:
            return False

    def wait_for(self, what: str, is_there: Callable[[], object], patience: float = PATIENCE) -> None:
        ends_at = time.monotonic() + patience
        while not is_there():
            ended = [name for name, process in self._running.items() if process.poll() is not None]
            assert not ended, f"{ended} ended while waiting for {what}:\n{self.log_of(ended[0])}"
            assert time.monotonic() < ends_at, f"{what} did not come; logs:\n{self.logs()}"
            time.sleep(0.1)

    def log_of(self, name: str) -> str:
        return (self._logs / f"{name}.log").read_text()[-6000:]

    def logs(self) -> str:
        return "\n".join(f"--- {name}\n{self.log_of(name)[-2500:]}" for name in self._running)

    def _launch(self, program: Program) -> None:
        with (self._logs / f"{program.name}.log").open("ab") as log:
            self._running[program.name] = program.launch(log.fileno())


@contextlib.contextmanager
def running_product(logs: Path, **variables: str) -> Iterator[Product]:
    """A product whose stores run and whose tables are there; no process of it has been started yet."""
    with throwaway_stores() as values:
        ports = {name: str(free_port()) for name in ("WEB_PORT", "FLOWER_PORT", "SIMULATOR_PORT")}
        values |= ports | {"SIMULATOR_URL": f"http://127.0.0.1:{ports['SIMULATOR_PORT']}", "SIMULATOR_TICKERS": "8"}
        values |= {"DEMO": "1"} | variables
        product = Product(values, logs)
        try:
            product.manage("migrate", "--no-input")
            yield product
        finally:
            product.stop()
