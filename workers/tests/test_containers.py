"""docker-compose.yml without an engine: each service's very command works, is healthy and ends."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import psycopg2
import pytest
import redis
import requests

from workers import resp
from workers.embedded import free_port
from workers.tests.compose import REQUIRED, SERVICES, Service, argv, environment
from workers.throwaway import throwaway_stores
from workers.wheels import CHECKOUT, Account, Programs


@pytest.fixture(scope="module")
def stores() -> Iterator[dict[str, str]]:
    with throwaway_stores() as found:
        yield found


@pytest.fixture(scope="module")
def migrated(stores: dict[str, str]) -> dict[str, str]:
    answer = run_to_end("migrate", stores)
    assert answer.returncode == 0, answer.stdout
    return stores


def setting(name: str, stores: Mapping[str, str]) -> dict[str, str]:
    """The service's environment, with the stores of this test and free ports of this machine's loopback."""
    given = REQUIRED | {"EXCHANGE": "simulated"}
    ours = {key: stores[key] for key in ("DATABASE_URL", "BROKER_URL", "LIVE_URL", "SIMULATOR_URL")}
    loopback = {"WEB_HOST": "127.0.0.1", "UVICORN_HOST": "127.0.0.1", "FLOWER_ADDRESS": "127.0.0.1"}
    ports = {"UVICORN_PORT": str(free_port()), "FLOWER_PORT": str(free_port()), "STORE_PORT": str(free_port())}
    path = f"{Path(sys.executable).parent}:{Programs.located().valkey.parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOSTNAME": "here"} | environment(SERVICES[name], given) | ours | loopback | ports


def run_to_end(name: str, stores: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv(SERVICES[name], REQUIRED),
        cwd=CHECKOUT,
        env=setting(name, stores),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def serve(migrated: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Service]]:
    running: list[Service] = []

    def start(name: str, folder: Path | None = None, **more: str) -> Service:
        folder = folder or (CHECKOUT if "build" in SERVICES[name] else tmp_path)
        running.append(Service(name, setting(name, migrated) | more, tmp_path / f"{name}.log", folder))
        return running[-1]

    yield start
    for service in running:
        if service.process.poll() is None:
            os.killpg(service.process.pid, signal.SIGKILL)
            service.process.wait(60)


@pytest.fixture
def exchange() -> Iterator[str]:
    """A simulated exchange with a few tickers; its URL."""
    simulator = [sys.executable, "manage.py", "run_simulator", "--port", "0", "--tickers", "5", "--json"]
    with subprocess.Popen(simulator, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["rest_url"]
        process.terminate()


def ask_postgres(url: str, sql: str) -> Any:
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            row = cursor.fetchone()
            return row[0] if row else None
    finally:
        connection.close()


@pytest.mark.processes
class TestCommands:
    def test_migrate_makes_the_tables_and_the_rows_and_can_be_repeated(self, migrated: dict[str, str]) -> None:
        schedules = "SELECT count(*) FROM django_celery_beat_periodictask"
        before = ask_postgres(migrated["DATABASE_URL"], schedules)

        again = run_to_end("migrate", migrated)

        assert again.returncode == 0, again.stdout
        assert "No migrations to apply" in again.stdout
        assert before == ask_postgres(migrated["DATABASE_URL"], schedules) > 0

    def test_migrate_fails_where_the_database_does(self, migrated: dict[str, str]) -> None:
        answer = run_to_end("migrate", migrated | {"DATABASE_URL": "postgres://nobody:x@127.0.0.1:1/none"})

        assert answer.returncode != 0

    @pytest.mark.parametrize("name", ["web", "flower"])
    def test_it_serves_is_healthy_and_ends_when_asked(self, serve: Callable[..., Service], name: str) -> None:
        service = serve(name)

        service.wait_until(service.is_healthy)

        assert service.end() in (0, -signal.SIGTERM)
        assert not service.is_healthy()

    @pytest.mark.parametrize("name", ["worker", "worker-default", "worker-record"])
    def test_a_worker_answers_and_ends_when_asked(self, serve: Callable[..., Service], name: str) -> None:
        service = serve(name)
        node = subprocess.run(["/bin/hostname"], capture_output=True, text=True, timeout=10, check=True).stdout.strip()
        service.env["HOSTNAME"] = node  # in a container it is set to just that

        service.wait_until(service.is_healthy)

        assert service.end() == 0

    def test_beat_sends_what_is_due_and_is_healthy(
        self, serve: Callable[..., Service], migrated: dict[str, str]
    ) -> None:
        service = serve("beat")

        service.wait_until(lambda: isinstance(resp.ask(migrated["BROKER_URL"], "LINDEX", "steering", "-1"), str))
        assert service.end() == 0

        is_healthy = service.is_healthy()  # it has written down what it sent
        assert is_healthy, f"{service.complaint}\n{service.log.read_text()}"

    def test_the_heartbeat_hears_the_exchange_and_is_healthy(
        self, serve: Callable[..., Service], exchange: str
    ) -> None:
        service = serve("heartbeat", SIMULATOR_URL=exchange)

        service.wait_until(service.is_healthy)

        assert service.end() in (0, -signal.SIGTERM)

    @pytest.mark.parametrize("name", ["broker", "live"])
    def test_a_store_of_messages_starts_with_its_password(self, serve: Callable[..., Service], name: str) -> None:
        service = serve(name)
        password, port = service.env["VALKEYCLI_AUTH"], service.env["STORE_PORT"]

        def answers() -> bool:
            try:
                return resp.ask(f"redis://:{password}@127.0.0.1:{port}/0", "PING") == "PONG"
            except resp.StoreUnreachable:
                return False

        service.wait_until(answers)

        with pytest.raises(resp.StoreRefused):
            resp.ask(f"redis://127.0.0.1:{port}/0", "PING")
        with redis.Redis(port=int(port), password=password, decode_responses=True) as client:
            told = client.config_get("maxmemory-policy", "appendonly")
        assert told == {"maxmemory-policy": "noeviction", "appendonly": "yes" if name == "broker" else "no"}

    @pytest.mark.parametrize("name", ["broker", "live"])
    def test_a_store_of_messages_hears_that_it_shall_end(self, serve: Callable[..., Service], name: str) -> None:
        """The engine asks the first process only: that must be the server itself, which then ends in its own way."""
        service = serve(name)
        service.wait_until(lambda: "Ready to accept connections" in service.log.read_text())

        assert service.end() == 0

        assert "bye bye" in service.log.read_text()

    def test_the_web_believes_nobody_but_the_proxy_about_visitors(self, serve: Callable[..., Service]) -> None:
        for proxy, seen in (({}, "127.0.0.1"), ({"FORWARDED_ALLOW_IPS": "127.0.0.1"}, "203.0.113.9")):
            service = serve("web", **proxy)
            service.wait_until(service.is_healthy)
            page = f"http://127.0.0.1:{service.env['UVICORN_PORT']}/accounts/login/"

            requests.get(page, headers={"X-Forwarded-For": "203.0.113.9"}, timeout=10, allow_redirects=False)

            service.end()
            assert re.search(rf'{seen}:\d+ - \\"GET /accounts/login/', service.log.read_text())

    def test_the_image_collects_its_static_files_and_serves_them(
        self, serve: Callable[..., Service], tmp_path: Path
    ) -> None:
        image = tmp_path / "app"
        dockerfile = (CHECKOUT / "Dockerfile").read_text()
        [collect] = re.findall(r"^RUN (.*collectstatic.*)$", dockerfile, re.MULTILINE)
        settings = dict(re.findall(r"^ENV (\w+)=(\w+)$", dockerfile, re.MULTILINE))
        ignored = shutil.ignore_patterns(".?*", "node_modules", "staticfiles", "docs", "tests", "__pycache__")
        shutil.copytree(CHECKOUT, image, ignore=ignored)
        path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        subprocess.run(["/bin/sh", "-c", collect], cwd=image, env=path | settings, check=True, timeout=120)
        web = serve("web", folder=image, **settings)
        web.wait_until(web.is_healthy)
        here = f"http://127.0.0.1:{web.env['UVICORN_PORT']}/"

        named = json.loads((image / "staticfiles" / "staticfiles.json").read_text())["paths"]

        assert f"/static/{named['bundle/base.js']}" in fetch(urljoin(here, "/accounts/login/")).text
        script = urljoin(here, f"/static/{named['bundle/signals.js']}")
        assert re.search(r"/signals\.[0-9a-f]{12}\.js$", script)
        assert "immutable" in fetch(script).headers["Cache-Control"]
        assert fetch(script).headers["Content-Encoding"] in {"br", "gzip"}
        loaded = modules(script)
        assert any("/candle-plot-" in url for url in loaded)
        for url, text in loaded.items():
            [source_map] = re.findall(r"^//# sourceMappingURL=(\S+)$", text, re.MULTILINE)
            assert fetch(urljoin(url, source_map)).json()["sources"]


def fetch(url: str) -> requests.Response:
    """As the proxy does for a browser. Raises HTTPError for what is not there."""
    answer = requests.get(url, headers={"X-Forwarded-Proto": "https"}, timeout=10, allow_redirects=False)
    answer.raise_for_status()
    return answer


def modules(url: str) -> dict[str, str]:
    """The module at `url` and all that it imports, now or later: their text, by URL."""
    found: dict[str, str] = {}
    wanted = [url]
    while wanted:
        one = wanted.pop()
        found[one] = fetch(one).text
        imported = re.findall(r"""(?:from|import\(?)\s*["'](\.{1,2}/[^"']+)""", found[one])
        wanted += [other for path in imported if (other := urljoin(one, path)) not in found]
    return found


@pytest.mark.processes
class TestPostgres:
    def test_postgres_accepts_its_settings(self) -> None:
        """The image's own entry point makes the cluster; its two lists of arguments are checked by the programs."""
        initdb = shlex.split(SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"])
        server = argv(SERVICES["postgres"], REQUIRED)
        assert server[0] == "postgres"

        account, programs = Account.of_stores(), Programs.located().postgres
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
            account.give(Path(name))
            made = account.run([str(programs / "initdb"), "-D", name, "-N", *initdb])
            asked = account.run([str(programs / "postgres"), "-D", name, *server[1:], "-C", "max_connections"])

        assert made.returncode == 0, made.stderr
        assert asked.stdout.strip() == "200"
