"""How Postgres answers what the product asks of its large tables: for `bench database` and the tests of plans."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from accounts.models import User
from billing.entitlements import entitlements
from billing.models import PlanGrant, PlanName
from live.frames import Delivery, identity_of
from live.groups import group_name
from live.relay import Delivered, Wanted
from market import candles, clock
from market.candles import last_open_times, load_newest
from market.copying import copy_rows
from market.models import Ticker
from signals.models import Call, Configuration, Horizon, LedgerEntry, Sweep
from signals.services import delivery, scoring, tallies
from signals.services.evaluation import load_latest, to_ms
from signals.services.following import follow_default
from signals.services.ledger import PART, lines_of
from signals.services.record import Grouping
from signals.services.scoring import STEP, check_outcomes, score_calls
from signals.services.sweeps import check_sweep

LARGE = re.compile(r"signals_(signalresult|tickerrun|call|latestsignal|sweep|outcome|record)|market_candle")
# What grows with time: none of it may be read from end to end while somebody waits. Not signals_latestsignal: that has a
# row for each pair, and who sees every pair needs them all.
GROWING = (
    *("signals_signalresult", "signals_tickerrun", "signals_call", "signals_outcome", "signals_sweep"),
    *("signals_recordcell", "signals_recordday", "market_candle"),
)
# Who asks by COPY, which cannot be explained: its SELECT can.
COPYING = (candles, scoring)
# How a question begins that nobody waits for. It is about hours, a day or a month of rows, and may read such a table whole.
BACKGROUND = "background: "
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
    return _of_signals(sweep, now) | _of_the_record(sweep, now)


def _of_signals(sweep: Sweep, now: datetime) -> dict[str, Question]:
    premium, free = reader(plan=PlanName.PREMIUM), reader(plan=PlanName.FREE)
    configurations = list(Configuration.objects.order_by("pk").values_list("pk", flat=True))
    tickers = list(Ticker.objects.active().order_by("symbol"))
    half_an_hour = to_ms(sweep.slot - timedelta(minutes=30))
    get = partial(_get, sweep.slot)

    def replay(user: User) -> Question:
        return lambda: delivery.replay(user=user, since_ms=half_an_hour, market_now=sweep.slot, now=now)

    catch_up = _relay(sweep, now)
    delivered = Delivered()
    for group, frame in catch_up(Delivered()):
        delivered.add(identity_of(group, frame))

    return {
        "page, premium": get("dashboard:get-matrix", user=premium),
        "page, free": get("dashboard:get-matrix", user=free),
        "calls, premium": get("dashboard:list-calls", user=premium),
        "calls, free": get("dashboard:list-calls", user=free),
        "calls of a ticker": get("dashboard:list-calls", user=premium, query={"ticker": tickers[0].symbol}),
        "relay: a sweep of which nothing was told": lambda: catch_up(Delivered()),
        "relay: a sweep of which all was told": lambda: catch_up(delivered),
        "replay of 30 min, premium": replay(premium),
        "replay of 30 min, free": replay(free),
        "task: latest of 50": lambda: load_latest(
            configuration_ids=configurations, ticker_ids=[one.pk for one in tickers[:50]]
        ),
        "closing a sweep": lambda: _undone(lambda: check_sweep(sweep=_reopened(sweep), now=now)),
        "heartbeat's start": lambda: last_open_times([one.pk for one in tickers], ["1m", "2m"]),
        "candles of 1, store empty": lambda: load_newest([tickers[0].pk], "2m", limit=500),
        "candles of 50, store empty": lambda: load_newest([one.pk for one in tickers[:50]], "2m", limit=500),
    }


def _relay(sweep: Sweep, now: datetime) -> Callable[[Delivered], list[Delivery]]:
    """What the relay of a process asks whose sockets see every pair, when `sweep` has been closed since its last look."""
    algorithms = Configuration.objects.values_list("algorithm_id", flat=True)
    symbols = Ticker.objects.active().values_list("symbol", flat=True)
    joined = dict.fromkeys(group_name(algorithm, symbol) for algorithm in algorithms for symbol in symbols)
    closed_at = sweep.closed_at
    assert closed_at is not None

    def catch_up(delivered: Delivered) -> list[Delivery]:
        told = delivery.Told(closed_at, frozenset())
        return delivery.catch_up(told, wanted=Wanted(joined.keys(), delivered), now=now)[0]

    return catch_up


def _of_the_record(sweep: Sweep, now: datetime) -> dict[str, Question]:
    """What its pages, its exports and its tasks ask, as if the day of the newest sweep were over and in the ledger."""
    call = Call.objects.order_by("-candle_closed_at").select_related("configuration", "ticker")[:1].get()
    pair = (call.configuration.algorithm_id, call.ticker.symbol)
    tickers = list(Ticker.objects.active().order_by("pk").values_list("pk", flat=True))
    midnight = sweep.slot.replace(hour=0, minute=0, second=0, microsecond=0)
    sealed = LedgerEntry.objects.latest("day")
    get = partial(_get, sweep.slot)

    return {
        "record, its longest page": get("dashboard:show-record", query={"by": Grouping.TICKER}),
        "record, a pair": get("dashboard:show-pair-record", *pair),
        "record, newest call of a ticker": get("dashboard:find-pair-record", query={"ticker": pair[1]}, status=302),
        "record, calls of a pair as CSV": get("dashboard:get-calls-csv", *pair),
        "record, chart of a pair": get("dashboard:get-pair-data", *pair),
        "ledger: text of a day, first part": get("dashboard:get-ledger-day", f"{sealed.day}"),
        f"{BACKGROUND}sealing a day, first part": lambda: list(lines_of(sealed.day, limit=PART)),
        f"{BACKGROUND}scoring 6 hours of calls": lambda: _undone(
            lambda: score_calls(market_now=sweep.slot, now=now, since=sweep.slot - STEP)
        ),
        f"{BACKGROUND}a day's outcomes of 50 tickers": lambda: list(
            check_outcomes(since=midnight, until=midnight + timedelta(days=1), ticker_ids=tickers[:50])
        ),
    }


def _get(
    at: datetime,
    view: str,
    *args: str,
    user: User | None = None,
    query: Mapping[str, str] | None = None,
    status: int = 200,
) -> Question:
    """A page or its data, asked by `user` (None: a stranger) when the market's clock says `at`, and the answer's status."""
    client = Client(HTTP_HOST="127.0.0.1")
    if user is not None:
        client.force_login(user, backend="accounts.backends.PasswordBackend")

    def get() -> None:
        with patch.object(clock, "now", lambda: at):
            answer = client.get(reverse(view, args=args), query)
        assert answer.status_code == status, (answer.status_code, answer.content[:500])

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

    def copy(query: str, parameters: Any, columns: Mapping[str, str]) -> object:
        seen.append((query, parameters))
        return copy_rows(query, parameters, columns)

    plain = {"DISABLE_SERVER_SIDE_CURSORS": True}  # as behind PgBouncer: a prepared statement cannot be explained
    with ExitStack() as watching:
        watching.enter_context(patch.dict(connection.settings_dict, plain))
        watching.enter_context(connection.execute_wrapper(keep))
        for module in COPYING:
            watching.enter_context(patch.object(module, "copy_rows", copy))
        work()
    return seen


def outcomes_statement(sweep: Sweep) -> Statement:
    """What the record's task asks of one configuration and horizon, and adds up: of the month of the sweep."""
    month = sweep.slot.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    configuration = sweep.configuration_ids[0]
    return tallies._OUTCOMES, [settings.EXCHANGE, Horizon.H24, month, sweep.slot, sweep.slot, configuration]


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
    return [*plans, explain(f"{BACKGROUND}a month's outcomes of a configuration", outcomes_statement(sweep))]
