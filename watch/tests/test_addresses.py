from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import settings as real_settings
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings
from redis import ConnectionError as NotConnected

from dashboard.tests.conftest import close_sweep, last_slot, note_heartbeat
from live.counters import counters
from watch.addresses import Addresses
from watch.services.readiness import Readiness
from watch.tests.conftest import ask

READY, SERVING = "/readyz", "/readyz/web"

pytestmark = pytest.mark.django_db(transaction=True)


async def nobody(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError(f"{scope['path']} was handed on")


@pytest.fixture
def addresses() -> Addresses:
    return Addresses(nobody)


@pytest.fixture
def fresh(transactional_db: None, product: None, looking_relay: None) -> None:
    """All is well."""
    close_sweep(last_slot())
    note_heartbeat(updated_at=datetime.now(UTC))


async def test_a_living_process_says_so_whoever_asks(addresses: Addresses) -> None:
    reply = await ask(addresses, "/livez", client="203.0.113.9", host="10.20.30.40", x_forwarded_proto="http")

    assert (reply.status, reply.text) == (200, "ok\n")
    assert reply.headers["cache-control"] == "no-store"


async def test_a_probe_may_ask_for_the_head_alone(addresses: Addresses) -> None:
    reply = await ask(addresses, "/livez", method="HEAD")

    assert (reply.status, reply.text, reply.headers["content-length"]) == (200, "", "3")


async def test_every_other_address_is_handed_on() -> None:
    handed_on = []

    async def django(scope: Any, receive: Any, send: Any) -> None:
        handed_on.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    for path in ("/", "/livez/more", "/readyz/other", "/metrics/"):
        await ask(Addresses(django), path)

    assert handed_on == ["/", "/livez/more", "/readyz/other", "/metrics/"]


async def test_when_all_is_well_it_is_ready_and_says_what_the_last_sweep_did(addresses: Addresses, fresh: None) -> None:
    reply = await ask(addresses, READY)

    found = json.loads(reply.text)
    assert (reply.status, found["status"], found["reason"]) == (200, "ready", "")
    counts = {name: found["sweep"][name] for name in ("tickers", "ok", "results", "calls", "duration_ms")}
    assert counts == {"tickers": 30, "ok": 30, "results": 360, "calls": 4, "duration_ms": 1_840}
    assert 0 <= found["sweep_age_ms"] <= 2 * found["period_ms"]
    assert set(found["parts"]) == {"database", "live", "broker", "sweep", "candles", "relay"}
    assert found["market"]["is_connected"]
    assert list(found["candle_age_ms"]) == ["2m"]


async def test_old_signals_are_not_ready_but_this_web_process_still_serves(
    addresses: Addresses, transactional_db: None, product: None, looking_relay: None
) -> None:
    whole, own = await ask(addresses, READY), await ask(addresses, SERVING)

    assert whole.status == 503
    expected = "no sweep has been closed yet; the heartbeat has not reported yet"
    assert json.loads(whole.text)["reason"] == expected
    assert own.status == 200
    assert json.loads(own.text)["status"] == "ready"


async def test_the_address_of_former_versions_answers_by_itself_so_that_an_old_monitor_sees_what_is_wrong(
    addresses: Addresses, transactional_db: None, product: None, looking_relay: None
) -> None:
    for path in ("/health", "/health/"):
        reply = await ask(addresses, path)
        assert reply.status == 503
        assert json.loads(reply.text)["reason"].startswith("no sweep has been closed yet")


@pytest.mark.parametrize(("ago", "reason"), [(None, "yet"), (45.0, "for 45 s")])
async def test_a_relay_that_does_not_look_takes_its_process_out_of_service(
    addresses: Addresses, fresh: None, monkeypatch: pytest.MonkeyPatch, ago: float | None, reason: str
) -> None:
    looked_at = 0.0 if ago is None else datetime.now(UTC).timestamp() - ago
    monkeypatch.setattr(counters, "looked_at", looked_at)

    for path in (READY, SERVING):
        reply = await ask(addresses, path)
        assert reply.status == 503
        words = json.loads(reply.text)["reason"]
        assert words == f"the relay of this web process has not looked into the database {reason}"


@pytest.mark.parametrize("part", ["live", "broker"])
async def test_a_redis_that_is_away_is_named_and_takes_no_process_out_of_service(
    fresh: None, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def refuse() -> None:
        raise NotConnected("Error 111 connecting to 10.1.2.3:6379")

    addresses = Addresses(nobody)
    addresses.readiness = Readiness(**{part: refuse})  # type: ignore[arg-type]

    whole, own = await ask(addresses, READY), await ask(addresses, SERVING)

    assert (whole.status, own.status) == (503, 200)
    parts = json.loads(whole.text)["parts"]
    assert [name for name, one in parts.items() if one["reason"]] == [part]
    assert "10.1.2.3" not in whole.text


async def test_nothing_secret_is_told(addresses: Addresses, fresh: None) -> None:
    reply = await ask(addresses, READY)

    database = real_settings.DATABASES["default"]
    for secret in (real_settings.SECRET_KEY, database["PASSWORD"], real_settings.LIVE_URL, str(database["PORT"])):
        assert secret not in reply.text


HERE = {"host": "127.0.0.1:8000"}


@pytest.mark.parametrize(
    ("client", "headers", "is_https", "status"),
    [
        ("127.0.0.1", HERE, False, 200),
        ("::1", {"host": "[::1]:8000"}, False, 200),
        ("127.0.0.1", {"host": "localhost"}, False, 200),
        ("203.0.113.9", HERE, False, 403),
        ("172.31.250.2", HERE, False, 403),
        ("", HERE, False, 403),
        # A name of somebody else that points to this machine, none at all, and what is none.
        ("127.0.0.1", {"host": "evil.example:8000"}, False, 403),
        ("127.0.0.1", {"host": "127.0.0.1.evil.example"}, False, 403),
        ("127.0.0.1", {}, False, 403),
        ("127.0.0.1", {"host": "[::1"}, False, 403),
        # A proxy on this machine, which says for whom it asks; and a visitor who says that he is from here.
        ("127.0.0.1", HERE | {"x_forwarded_for": "203.0.113.9"}, False, 403),
        ("127.0.0.1", HERE | {"x_forwarded_for": "127.0.0.1"}, False, 403),
        ("127.0.0.1", HERE | {"forwarded": "for=127.0.0.1"}, False, 403),
        ("127.0.0.1", HERE | {"via": "1.1 proxy"}, False, 403),
        # A proxy that says nothing of the kind.
        ("127.0.0.1", HERE, True, 403),
        ("127.0.0.1", HERE | {"authorization": "Bearer "}, True, 403),
    ],
)
async def test_without_a_token_metrics_are_for_this_machine(
    addresses: Addresses, settings: Settings, client: str, headers: dict[str, str], is_https: bool, status: int
) -> None:
    settings.METRICS_TOKEN, settings.IS_HTTPS = "", is_https

    reply = await ask(addresses, "/metrics", client=client, **headers)

    assert reply.status == status
    assert ("boritrader_build_info" in reply.text) == (status == 200)


@pytest.mark.parametrize(
    ("client", "headers", "is_https", "status"),
    [
        ("203.0.113.9", {"authorization": "Bearer right-token"}, True, 200),
        ("203.0.113.9", {"authorization": "bearer right-token"}, False, 200),
        ("127.0.0.1", {"authorization": "Bearer right-token", "x_forwarded_for": "203.0.113.9"}, False, 200),
        ("203.0.113.9", {"authorization": "Bearer wrong-token"}, False, 403),
        ("203.0.113.9", {"authorization": "Bearer "}, False, 403),
        ("203.0.113.9", {"authorization": "Basic right-token"}, False, 403),
        ("203.0.113.9", {"authorization": "Bearer \N{SNOWMAN}"}, False, 403),
        ("127.0.0.1", HERE, False, 403),
    ],
)
async def test_where_there_is_a_token_nothing_else_counts(
    addresses: Addresses, settings: Settings, client: str, headers: dict[str, str], is_https: bool, status: int
) -> None:
    settings.METRICS_TOKEN, settings.IS_HTTPS = "right-token", is_https

    assert (await ask(addresses, "/metrics", client=client, **headers)).status == status


async def test_without_a_token_none_is_right(addresses: Addresses, settings: Settings) -> None:
    settings.METRICS_TOKEN = ""

    reply = await ask(addresses, "/metrics", client="203.0.113.9", authorization="Bearer ")

    assert reply.status == 403


async def test_prometheus_can_read_the_metrics(addresses: Addresses, fresh: None) -> None:
    reply = await ask(addresses, "/metrics", **HERE)

    families = {family.name: family for family in text_string_to_metric_families(reply.text)}
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert {sample.labels["part"]: sample.value for sample in families["boritrader_up"].samples} == {
        "database": 1,
        "live": 1,
        "broker": 1,
    }
