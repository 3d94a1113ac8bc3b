"""docker-compose.yml without an engine: it follows the specification, and each service's very command works."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import psycopg2
import pytest
import redis
import yaml

from workers import resp
from workers.embedded import free_port
from workers.throwaway import throwaway_stores
from workers.wheels import CHECKOUT, Account, Programs

TEXT = (CHECKOUT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
SECRETS = {
    "SECRET_KEY": "s" * 60,
    "POSTGRES_PASSWORD": "pg-pw",
    "BROKER_PASSWORD": "broker-pw",
    "LIVE_PASSWORD": "live-pw",
    "FLOWER_BASIC_AUTH": "operator:flower-pw",
    "DOMAIN": "signals.example.com",
}


class Refused(Exception):
    """Compose would refuse to start: a variable without a default is not given."""


def interpolate(text: str, given: Mapping[str, str]) -> str:
    """What compose makes of `text`: $$, ${NAME}, ${NAME:-default}, ${NAME:?error}."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        found = given.get(match["name"], "")
        if not found and match["sign"] == ":?":
            raise Refused(match["rest"])
        return found or (match["rest"] if match["sign"] == ":-" else "")

    return re.sub(r"\$\$|\$\{(?P<name>\w+)(?:(?P<sign>:[-?])(?P<rest>[^}]*))?\}", value, text)


def argv(service: dict[str, Any], given: Mapping[str, str]) -> list[str]:
    command = service["command"]
    words = shlex.split(command) if isinstance(command, str) else command
    return [interpolate(word, given) for word in words]


def environment(service: dict[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    return {name: interpolate(str(value), given) for name, value in service.get("environment", {}).items()}


# --- The file -----------------------------------------------------------------------------------------------------------


def test_the_file_follows_the_compose_specification() -> None:
    package = importlib.util.find_spec("check_jsonschema")
    assert package is not None
    assert package.submodule_search_locations is not None
    schema = Path(package.submodule_search_locations[0]) / "builtin_schemas" / "vendor" / "compose-spec.json"

    jsonschema.validate(COMPOSE, json.loads(schema.read_text()))
    with pytest.raises(jsonschema.ValidationError):  # the schema does refuse
        jsonschema.validate(COMPOSE | {"services": {"web": {"comand": "typo"}}}, json.loads(schema.read_text()))


def test_every_process_of_the_product_is_a_service() -> None:
    assert set(OURS) == {"migrate", "web", "worker", "worker-default", "beat", "heartbeat", "flower"}
    assert set(SERVICES) - set(OURS) == {"proxy", "postgres", "broker", "live"}


@pytest.mark.parametrize("missing", SECRETS)
def test_without_one_of_the_secrets_it_refuses_to_start(missing: str) -> None:
    given = {name: value for name, value in SECRETS.items() if name != missing}

    with pytest.raises(Refused, match=missing):
        interpolate(TEXT, given)

    assert interpolate(TEXT, SECRETS)


def test_no_secret_has_a_default() -> None:
    for name in SECRETS:
        assert not re.search(rf"\$\{{{name}:-", TEXT)


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    image = SERVICES[name]["image"]

    assert re.search(r":\d+\.\d+(\.\d+)?$", image) or image == "boritrader:${VERSION:-latest}"


def test_the_images_of_the_dockerfile_are_pinned_and_it_ends_as_an_ordinary_user() -> None:
    dockerfile = (CHECKOUT / "Dockerfile").read_text()

    assert all(
        re.search(r":\d+\.\d+\.\d+-slim$", image) for image in re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    )
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)[-1] == "boritrader"


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "migrate"])
def test_what_ends_is_started_again_and_is_looked_after(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", [name for name in OURS if name != "migrate"])
def test_everything_waits_for_the_migration(name: str) -> None:
    assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_only_the_proxy_is_reachable_from_other_machines() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert set(published) == {"proxy", "flower"}
    assert all(port.startswith("127.0.0.1:") for port in published["flower"])
    for name in ("postgres", "broker", "live"):
        assert SERVICES[name]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}


def test_the_example_names_every_variable_that_is_read() -> None:
    named = set(re.findall(r"^([A-Z_]+)=", (CHECKOUT / ".env.example").read_text(), re.MULTILINE))
    files = [*CHECKOUT.glob("boritrader/*.py"), CHECKOUT / "celeryconfig.py", CHECKOUT / "workers" / "supervisor.py"]
    source = "\n".join(file.read_text() for file in files)
    reads = set(re.findall(r'(?:env\.\w+|required|environ\.get|given\.get)\(\s*"([A-Z_]+)"', source))
    ports = set(re.findall(r'"([A-Z]+_PORT)"', source))
    compose = set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT))

    read = reads | ports | compose | {"CHROMIUM", "SIMULATOR_TICKERS", "FLOWER_BASIC_AUTH"}

    assert named == read


# --- The commands -------------------------------------------------------------------------------------------------------


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
    given = SECRETS | {"EXCHANGE": "simulated"}
    ours = {key: stores[key] for key in ("DATABASE_URL", "BROKER_URL", "LIVE_URL", "SIMULATOR_URL")}
    loopback = {"WEB_HOST": "127.0.0.1", "UVICORN_HOST": "127.0.0.1", "FLOWER_ADDRESS": "127.0.0.1"}
    ports = {"UVICORN_PORT": str(free_port()), "FLOWER_PORT": str(free_port()), "STORE_PORT": str(free_port())}
    path = f"{Path(sys.executable).parent}:{Programs.located().valkey.parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOSTNAME": "here"} | environment(SERVICES[name], given) | ours | loopback | ports


def run_to_end(name: str, stores: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv(SERVICES[name], SECRETS),
        cwd=CHECKOUT,
        env=setting(name, stores),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


class Service:
    """One service's command, running; and its health check."""

    def __init__(self, name: str, env: dict[str, str], log: Path) -> None:
        self.name, self.env, self.log = name, env, log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                argv(SERVICES[name], SECRETS),
                cwd=log.parent if "build" not in SERVICES[name] else CHECKOUT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def is_healthy(self) -> bool:
        kind, *words = SERVICES[self.name]["healthcheck"]["test"]
        words = [interpolate(word, SECRETS) for word in words]
        command = ["/bin/sh", "-c", *words] if kind == "CMD-SHELL" else words
        return subprocess.run(command, cwd=CHECKOUT, env=self.env, capture_output=True, timeout=60).returncode == 0

    def wait_until(self, is_true: Callable[[], bool]) -> None:
        ends_at = time.monotonic() + 90
        while not is_true():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < ends_at, self.log.read_text()
            time.sleep(0.2)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture
def serve(migrated: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Service]]:
    running: list[Service] = []

    def start(name: str, **more: str) -> Service:
        running.append(Service(name, setting(name, migrated) | more, tmp_path / f"{name}.log"))
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

    @pytest.mark.parametrize("name", ["worker", "worker-default"])
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

        service.wait_until(lambda: isinstance(resp.ask(migrated["BROKER_URL"], "LINDEX", "sweep", "-1"), str))
        assert service.end() == 0

        assert service.is_healthy()  # it has written down what it sent

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

    def test_postgres_accepts_its_settings(self) -> None:
        """The image's own entry point makes the cluster; its two lists of arguments are checked by the programs."""
        initdb = shlex.split(SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"])
        server = argv(SERVICES["postgres"], SECRETS)
        assert server[0] == "postgres"

        account, programs = Account.of_stores(), Programs.located().postgres
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
            account.give(Path(name))
            made = account.run([str(programs / "initdb"), "-D", name, "-N", *initdb])
            asked = account.run([str(programs / "postgres"), "-D", name, *server[1:], "-C", "max_connections"])

        assert made.returncode == 0, made.stderr
        assert asked.stdout.strip() == "200"
