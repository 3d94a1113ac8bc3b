"""What `make run` decides before it starts anything: ports, variables, who is started."""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import environ
import pytest

from exchanges import open_market_data
from workers import resp, supervisor
from workers.queues import QueueWatch
from workers.tests.running import free_ports
from workers.wheels import CHECKOUT


@pytest.fixture
def taken_port() -> Iterator[int]:
    """The one behind it is free, and stays so: outgoing connections are given higher ones."""
    for port in random.sample(range(20_000, 32_000, 2), 6_000):
        with contextlib.ExitStack() as servers:
            try:
                servers.enter_context(socket.create_server(("127.0.0.1", port)))
                socket.create_server(("127.0.0.1", port + 1)).close()
            except OSError:
                continue
            yield port
            return


def test_a_taken_port_is_named_with_the_variable_that_moves_it(taken_port: int) -> None:
    given = free_ports() | {"WEB_PORT": str(taken_port)}

    with pytest.raises(
        supervisor.CannotStart, match=rf"Port {taken_port}, for the web pages, .*\n.*WEB_PORT=\d+ make run"
    ):
        supervisor.ports(given)


def test_all_taken_ports_are_named_at_once(taken_port: int) -> None:
    given = free_ports() | {"WEB_PORT": str(taken_port), "LIVE_PORT": str(taken_port), "FLOWER_PORT": "many"}

    with pytest.raises(supervisor.CannotStart) as refusal:
        supervisor.ports(given)

    assert all(name in str(refusal.value) for name in ("WEB_PORT", "LIVE_PORT", "FLOWER_PORT=many"))


def test_the_command_for_a_taken_port_has_everything_else_that_was_given_but_secrets(taken_port: int) -> None:
    given = free_ports() | {"WEB_PORT": str(taken_port), "FLOWER_PORT": str(taken_port + 1), "PATH": "/bin"}
    given |= {"EXCHANGE": "binance", "ALLOWED_HOSTS": "a b", "BROKER_URL": "redis://:hunter2@elsewhere/0"}

    with pytest.raises(supervisor.CannotStart) as refusal:
        supervisor.ports(given)

    command = str(refusal.value).splitlines()[-1]
    for word in ("EXCHANGE=binance", "ALLOWED_HOSTS='a b'", f"FLOWER_PORT={given['FLOWER_PORT']}"):
        assert f" {word} " in command
    assert command.count("WEB_PORT=") == 1
    assert f"WEB_PORT={taken_port + 1} " not in command
    assert "PATH" not in command
    assert "hunter2" not in command
    assert command.endswith(" make run   (and BROKER_URL as before)")


def test_an_exchange_that_is_unknown_is_refused_before_anything_starts(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "workers.supervisor"], cwd=CHECKOUT, capture_output=True, text=True, timeout=60,
        env=os.environ | {"EXCHANGE": "nope", "RUN_FOLDER": str(tmp_path)},
    )  # fmt: skip

    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == "EXCHANGE=nope is no exchange we know. Choose simulated or binance.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", supervisor.EXCHANGES)
def test_every_exchange_that_is_let_pass_can_be_opened(name: str) -> None:
    supervisor.check_exchange({"EXCHANGE": name})

    assert open_market_data(name, "http://127.0.0.1:1", "ws://127.0.0.1:1") is not None


def test_one_port_for_two_things_is_refused_by_name() -> None:
    given = free_ports()

    with pytest.raises(supervisor.CannotStart, match=rf"^Port {given['WEB_PORT']} is both WEB_PORT and LIVE_PORT\."):
        supervisor.ports(given | {"LIVE_PORT": given["WEB_PORT"]})


@pytest.mark.parametrize(
    ("bound", "asked"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("192.0.2.7", "192.0.2.7")],
)
def test_the_web_is_asked_where_it_listens(bound: str, asked: str) -> None:
    assert supervisor.reached_at(bound) == asked


def test_a_store_that_is_given_needs_no_port_and_is_not_started(taken_port: int) -> None:
    given = free_ports() | {"DATABASE_URL": "postgres://elsewhere/db", "POSTGRES_PORT": str(taken_port)}

    chosen = supervisor.ports(given)

    assert "POSTGRES_PORT" not in chosen
    assert set(supervisor.stores(given, chosen)) == {"BROKER_URL", "LIVE_URL"}


def test_the_real_exchange_needs_no_simulator() -> None:
    given = free_ports() | {"EXCHANGE": "binance"}

    values = supervisor.environment(given, kept={}, chosen=supervisor.ports(given), stores={})

    assert values["EXCHANGE"] == "binance"
    assert "SIMULATOR_URL" not in values
    assert "simulator" not in [program.name for program in supervisor.programs(values)]


def test_an_empty_variable_is_as_good_as_none() -> None:
    given = free_ports() | {"EXCHANGE": "", "WEB_HOST": "", "SIMULATOR_TICKERS": ""}

    values = supervisor.environment(given, kept={}, chosen=supervisor.ports(given), stores={})

    assert (values["EXCHANGE"], values["WEB_HOST"], values["SIMULATOR_TICKERS"]) == ("simulated", "127.0.0.1", "100")
    assert values["SIMULATOR_URL"] == f"http://127.0.0.1:{given['SIMULATOR_PORT']}"


def test_the_settings_too_take_an_empty_variable_for_none() -> None:
    """All that .env.example leaves empty, and the numbers besides."""
    example = (CHECKOUT / ".env.example").read_text()
    empty = dict.fromkeys(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE), "") | {"BORITRADER_BUILD": "1"}
    names = ["EXCHANGE", "SIMULATOR_URL", "SWEEP_EVERY_MINUTES", "SWEEP_TICKERS_PER_TASK", "WEB_HOST", "ALLOWED_HOSTS"]
    script = f"from boritrader import settings as s; print([getattr(s, name) for name in {names}])"

    told = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, env=os.environ | empty, capture_output=True, text=True, timeout=60
    )

    defaults = ["simulated", "http://127.0.0.1:28480", 2, 1, "127.0.0.1", ["127.0.0.1", "localhost"]]
    assert told.stdout.strip() == str(defaults), told.stderr


def test_a_worker_says_nothing_about_root_and_keeps_its_other_warnings(tmp_path: Path) -> None:
    script = """
import warnings
from celery.exceptions import SecurityWarning
from celery.platforms import ROOT_DISCOURAGED
warnings.warn(SecurityWarning(ROOT_DISCOURAGED.format(uid=0, euid=0, gid=0, egid=0)))
warnings.warn(SecurityWarning("another"))
"""
    said = {}
    for name in ("worker-sweep", "web"):
        with (tmp_path / name).open("wb") as log:
            supervisor.python(name, "-c", script, values={"PYTHONWARNINGS": "default"}).launch(log.fileno()).wait(60)
        said[name] = (tmp_path / name).read_text()

    assert "superuser privileges" not in said["worker-sweep"]
    assert "SecurityWarning: another" in said["worker-sweep"]
    assert "superuser privileges" in said["web"]


def test_every_process_of_the_product_is_supervised() -> None:
    given = free_ports()

    values = supervisor.environment(given, kept={}, chosen=supervisor.ports(given), stores={})

    names = [program.name for program in supervisor.programs(values)]
    workers = ["worker-sweep", "worker-default", "worker-record"]
    assert names == ["simulator", "heartbeat", *workers, "beat", "flower", "web"]


def test_variables_given_win_over_kept_secrets_and_those_over_new_ones() -> None:
    kept = {"SECRET_KEY": "kept", "FLOWER_BASIC_AUTH": "operator:kept", "DEBUG": "1"}

    values = supervisor.environment({"FLOWER_BASIC_AUTH": "me:mine"}, kept=kept, chosen={}, stores={})
    fresh = supervisor.environment({}, kept={}, chosen={}, stores={})

    assert (values["SECRET_KEY"], values["FLOWER_BASIC_AUTH"], values["DEBUG"]) == ("kept", "me:mine", "0")
    assert len(fresh["SECRET_KEY"]) >= 50
    assert fresh["SECRET_KEY"] != supervisor.environment({}, kept={}, chosen={}, stores={})["SECRET_KEY"]


def test_the_variables_file_is_closed_to_others_and_reads_back(tmp_path: Path) -> None:
    values = {"SECRET_KEY": "a=b=c", "DATABASE_URL": "postgres://boritrader:x@127.0.0.1:1/boritrader"}
    (tmp_path / "env").write_text("OLD=1\n")

    supervisor.write_env(tmp_path / "env", values)

    assert stat.S_IMODE((tmp_path / "env").stat().st_mode) == 0o600
    assert supervisor.read_env(tmp_path / "env") == values


def test_the_settings_read_the_file_that_is_written(tmp_path: Path) -> None:
    class FreshEnvironment(environ.Env):  # type: ignore[misc]
        ENVIRON: ClassVar[dict[str, str]] = {}

    stores = {"LIVE_URL": "redis://:a-b_c@127.0.0.1:1/0"}
    values = supervisor.environment({}, kept={}, chosen=dict.fromkeys(supervisor.PORTS, 1), stores=stores)
    supervisor.write_env(tmp_path / "env", values)

    FreshEnvironment.read_env(tmp_path / "env")

    assert values == FreshEnvironment.ENVIRON


def test_another_folder_is_another_installation_for_the_supervisor_and_for_the_settings(tmp_path: Path) -> None:
    kept = supervisor.environment(
        {}, kept={}, chosen=dict.fromkeys(supervisor.PORTS, 1), stores={"LIVE_URL": "redis://x"}
    )
    supervisor.write_env(tmp_path / "env", kept | {"DATABASE_URL": "postgres://boritrader:x@127.0.0.1:1/elsewhere"})
    script = (
        "from workers.supervisor import RUN; from boritrader import settings as s; "
        "print(RUN, s.DATABASES['default']['NAME'], s.SECRET_KEY)"
    )
    inherited = {name: value for name, value in os.environ.items() if name not in {*kept, "DATABASE_URL"}}

    told = subprocess.run(
        [sys.executable, "-c", script],
        cwd=CHECKOUT, env=inherited | {"RUN_FOLDER": str(tmp_path)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert told.stdout.split() == [str(tmp_path), "elsewhere", kept["SECRET_KEY"]], told.stderr


def test_no_secret_is_on_a_command_line() -> None:
    given = free_ports()
    values = supervisor.environment(
        given, kept={}, chosen=supervisor.ports(given), stores={"DATABASE_URL": "pg-secret"}
    )
    secrets = [values["SECRET_KEY"], values["FLOWER_BASIC_AUTH"], "pg-secret"]

    arguments = str([supervisor.web_command("127.0.0.1", "1"), supervisor.programs(values)])

    assert not any(secret in arguments for secret in secrets)


class TestQueueWatch:
    @pytest.fixture
    def queue(self) -> Iterator[str]:
        name = f"watched-{time.monotonic_ns()}"
        yield name
        resp.ask(os.environ["BROKER_URL"], "DEL", name)

    def push(self, queue: str, message: str) -> None:
        resp.ask(os.environ["BROKER_URL"], "LPUSH", queue, message)

    def take(self, queue: str) -> None:
        resp.ask(os.environ["BROKER_URL"], "RPOP", queue)

    def test_a_worker_that_takes_nothing_while_tasks_wait_is_stuck(self, queue: str) -> None:
        watch = QueueWatch(os.environ["BROKER_URL"], ["empty-one", queue], patience=30)
        self.push(queue, "first")
        self.push(queue, "second")

        assert watch.stuck_queue(now=100, started=0) is None
        assert watch.stuck_queue(now=130, started=0) is None
        assert watch.stuck_queue(now=131, started=0) == queue

    def test_a_long_queue_that_moves_is_work(self, queue: str) -> None:
        watch = QueueWatch(os.environ["BROKER_URL"], [queue], patience=30)
        for number in range(10):
            self.push(queue, f"message {number}")

        for now in range(0, 250, 31):
            assert watch.stuck_queue(now=now, started=-100) is None
            self.take(queue)

    def test_an_empty_queue_is_no_fault(self, queue: str) -> None:
        watch = QueueWatch(os.environ["BROKER_URL"], [queue], patience=30)

        assert [watch.stuck_queue(now=now, started=0) for now in (0, 100, 10_000)] == [None] * 3

    def test_a_worker_just_started_gets_its_time(self, queue: str) -> None:
        watch = QueueWatch(os.environ["BROKER_URL"], [queue], patience=30)
        self.push(queue, "old")
        watch.stuck_queue(now=0, started=0)

        assert watch.stuck_queue(now=1000, started=980) is None
        assert watch.stuck_queue(now=1011, started=980) == queue

    def test_a_broker_that_is_away_says_nothing_about_the_worker(self) -> None:
        watch = QueueWatch("redis://127.0.0.1:1/0", ["any"], patience=30)

        assert [watch.stuck_queue(now=now, started=0) for now in (0, 100)] == [None, None]

    def test_in_a_container_the_stuck_worker_is_killed_and_the_container_ends(self, queue: str) -> None:
        self.push(queue, "never taken")
        deaf = [sys.executable, "-m", "workers.queues", "--queues", queue, "--patience", "0.1", "--every", "0.1"]

        ended = subprocess.run(
            [*deaf, "--", "/bin/sleep", "600"], cwd=CHECKOUT, capture_output=True, text=True, timeout=60
        )

        assert ended.returncode == 1
        assert f"tasks wait in the queue {queue}" in ended.stderr

    def test_in_a_container_the_workers_own_end_is_the_containers(self, queue: str) -> None:
        command = [sys.executable, "-m", "workers.queues", "--queues", queue, "--", "/bin/sh", "-c", "exit 7"]

        assert subprocess.run(command, cwd=CHECKOUT, timeout=60).returncode == 7
