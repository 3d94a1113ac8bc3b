"""How Postgres answers what the product asks of its large tables: for `bench database` and the tests of plans."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from accounts.models import User
from billing.entitlements import entitlements
from billing.models import PlanGrant, PlanName
from market.candles import _NEWEST, last_open_times
from market.models import Ticker
from signals.models import Configuration, Sweep
from signals.services import delivery
from signals.services.evaluation import load_latest, to_ms
from signals.services.following import follow_default
from signals.services.sweeps import check_sweep

LARGE = re.compile(r"signals_(signalresult|tickerrun|call|latestsignal|sweep)|market_candle")
Question = Callable[[], object]
Statement = tuple[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """How one statement was really run."""

    question: str
    milliseconds: float
    rows: int  # that it gave
    wasted: int  # read from a table and thrown away again
    pages: int  # of 8 kB that it looked at
    tables: tuple[str, ...]  # and partitions, those that were really read
    indexes: tuple[str, ...]
    scanned: tuple[str, ...]  # large tables and partitions that were read from end to end

    @property
    def reads_too_much(self) -> bool:
        """Whether it reads many times what it needs: it grows with what is stored instead of with what is asked."""
        return self.wasted > 1000 + 5 * self.rows


def reader(*, plan: str) -> User:
    """A user who follows as much as the plan allows."""
    now = datetime.now(UTC)
    user, is_new = get_user_model().objects.get_or_create(username=f"reader-{plan}", email=f"{plan}@example.org")
    if is_new and plan == PlanName.PREMIUM:
        PlanGrant.objects.create(user=user, plan=plan, starts_at=now - timedelta(days=1), reason="bench")
    if is_new:
        follow_default(user=user, allowed=entitlements(user, now=now))
    return user


def questions(sweep: Sweep, now: datetime) -> dict[str, Question]:
    """What pages, sockets, the relay, tasks and the operator ask when `sweep` is the newest, by name."""
    premium, free = reader(plan=PlanName.PREMIUM), reader(plan=PlanName.FREE)
    configurations = list(Configuration.objects.order_by("pk").values_list("pk", flat=True))
    tickers = list(Ticker.objects.active().order_by("symbol"))
    half_an_hour = to_ms(sweep.slot - timedelta(minutes=30))
    first = {"ticker": tickers[0].symbol}

    def replay(user: User) -> Question:
        return lambda: delivery.replay(user=user, since_ms=half_an_hour, market_now=sweep.slot, now=now)

    def find(slot: datetime) -> Question:
        return lambda: delivery.find_results(
            since=slot, until=slot, configuration_ids=configurations, ticker_ids=None, most=None
        )

    return {
        "page, premium": _get(premium, "dashboard:get-matrix"),
        "page, free": _get(free, "dashboard:get-matrix"),
        "calls, premium": _get(premium, "dashboard:list-calls"),
        "calls, free": _get(free, "dashboard:list-calls"),
        "calls of a ticker": _get(premium, "dashboard:list-calls", first),
        "relay: a closed sweep": find(sweep.slot),
        "relay: one of an hour ago": find(sweep.slot - timedelta(hours=1)),
        "replay of 30 min, premium": replay(premium),
        "replay of 30 min, free": replay(free),
        "task: latest of 50": lambda: load_latest(
            configuration_ids=configurations, ticker_ids=[one.pk for one in tickers[:50]]
        ),
        "closing a sweep": lambda: _undone(lambda: check_sweep(sweep=_reopened(sweep), now=now)),
        "heartbeat's start": lambda: last_open_times([one.pk for one in tickers], ["1m", "2m"]),
    }


def _get(user: User, view: str, query: Mapping[str, str] | None = None) -> Question:
    client = Client(HTTP_HOST="127.0.0.1")
    client.force_login(user, backend="accounts.backends.PasswordBackend")

    def get() -> None:
        answer = client.get(reverse(view), query)
        assert answer.status_code == 200, answer.content[:500]

    return get


def _reopened(sweep: Sweep) -> Sweep:
    Sweep.objects.filter(pk=sweep.pk).update(status=Sweep.Status.OPEN)
    return sweep


def _undone(work: Question) -> None:
    with transaction.atomic():
        work()
        transaction.set_rollback(True)


def statements(work: Question) -> list[Statement]:
    """Every SELECT on a large table that `work` sends."""
    seen: list[Statement] = []

    def keep(execute: Callable[..., object], sql: str, params: Any, many: bool, context: Mapping[str, Any]) -> object:
        if not many and re.match(r"\s*(SELECT|WITH)\b", sql) and LARGE.search(sql):
            seen.append((sql, params))
        return execute(sql, params, many, context)

    plain = {"DISABLE_SERVER_SIDE_CURSORS": True}  # as behind PgBouncer: a prepared statement cannot be explained
    with patch.dict(connection.settings_dict, plain), connection.execute_wrapper(keep):
        work()
    return seen


def candle_statement(ticker_ids: Sequence[int]) -> Statement:
    """What the candle store asks when it is empty; it COPYs that, which cannot be explained."""
    return _NEWEST, [list(ticker_ids), "2m", datetime.max.replace(tzinfo=UTC), 500]


def explain(question: str, statement: Statement) -> Plan:
    """Runs the statement, once to warm up and once measured."""
    sql, params = statement
    with connection.cursor() as cursor:
        for _ in range(2):
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
            answer = cursor.fetchone()[0]
    found = (json.loads(answer) if isinstance(answer, str) else answer)[0]
    nodes = [node for node in _nodes(found["Plan"]) if node["Actual Loops"]]
    read = [node for node in nodes if LARGE.match(node.get("Relation Name", ""))]
    return Plan(
        question=question,
        milliseconds=found["Execution Time"],
        rows=round(found["Plan"]["Actual Rows"]),
        wasted=round(sum(_wasted(node) for node in read)),
        pages=found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"],
        tables=tuple(sorted({node["Relation Name"] for node in read})),
        indexes=tuple(sorted({node["Index Name"] for node in nodes if "Index Name" in node})),
        scanned=tuple(sorted({node["Relation Name"] for node in read if node["Node Type"] == "Seq Scan"})),
    )


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


def _wasted(node: dict[str, Any]) -> float:
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return float(removed * node["Actual Loops"])


def ask() -> list[dict[str, Any]]:
    """The plans when the newest sweep has just been closed, for `inside.call`."""
    sweep = Sweep.objects.central().order_by("-slot")[:1].get()
    plans = explain_all(sweep, datetime.now(UTC))
    return [asdict(plan) | {"reads_too_much": plan.reads_too_much} for plan in plans]


def explain_all(sweep: Sweep, now: datetime) -> list[Plan]:
    """Of each question its slowest statement."""
    plans = []
    for question, work in questions(sweep, now).items():
        asked = [explain(question, one) for one in statements(work)]
        plans.append(max(asked, key=lambda plan: plan.milliseconds))
    for number in (1, 50):
        tickers = list(Ticker.objects.active().values_list("pk", flat=True)[:number])
        plans.append(explain(f"candles of {number}, store empty", candle_statement(tickers)))
    return plans
