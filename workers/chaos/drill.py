"""A run of chaos: start, warm up, one fault after the other, and the same checks after each."""

from __future__ import annotations

import contextlib
import math
import random
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path

import psycopg2

from workers.chaos.audience import Audience, Heard
from workers.chaos.faults import CleanUp, Fault
from workers.chaos.installation import DidNotStart, Installation, installed
from workers.chaos.invariants import Kept, Violation, violations
from workers.chaos.memory import Memory
from workers.chaos.report import Findings, Round
from workers.chaos.stage import LOOK_EVERY, Stage

PERIOD = 5  # seconds between two sweeps
PEOPLE = 10
# After this the next fault comes, whatever still is wrong.
GIVE_UP = 120.0

Say = Callable[[str], None]


def run(
    faults: Sequence[tuple[Fault, int]],
    *,
    say: Say,
    seed: int,
    tickers: int = 20,
    sockets: int = 40,
    ends_at: float | None = None,
    logs: Path | None = None,
) -> Findings:
    """Each fault so many rounds; with `ends_at` (monotonic seconds) any of them at random until then.

    `logs`: where to keep what every process said. A product that does not come back ends the run. Raises DidNotStart
    where it does not come up at all.
    """
    chance = random.Random(seed)
    with _stage(say=say, chance=chance, tickers=tickers, sockets=sockets, logs=logs) as stage:
        findings = Findings(seed=seed, tickers=tickers, sockets=sockets, period=PERIOD)
        for fault, number in _programme(faults, chance, ends_at):
            one = _round(stage, fault, fault.at[number % len(fault.at)])
            findings.add(fault, one)
            say(f"{fault.name:<17} {one.as_text()}")
            if math.isinf(one.recovery) and math.isinf(stage.wait_until_normal(within=GIVE_UP)[0]):
                say("the product does not come back: no more faults")
                break
        findings.memory = tuple(stage.memory.usage())
        with contextlib.suppress(psycopg2.Error):  # its last round has told of that
            _sum_up(findings, stage)
        findings.ended_at = datetime.now(UTC)
        return findings


def _sum_up(findings: Findings, stage: Stage) -> None:
    """What is said of the whole run."""
    findings.closing = tuple(_violations(stage, since=stage.since))
    [(findings.slots, findings.verdicts)] = stage.query(
        "SELECT (SELECT count(*) FROM signals_sweep WHERE feed = 'central' AND slot >= %s), "
        "(SELECT count(*) FROM signals_signalresult)",
        stage.since,
    )


def _programme(
    faults: Sequence[tuple[Fault, int]], chance: random.Random, ends_at: float | None
) -> Iterator[tuple[Fault, int]]:
    """Which fault comes next, and its how manieth it is."""
    if ends_at is None:
        for fault, rounds in faults:
            for number in range(rounds):
                yield fault, number
        return
    number = 0
    while time.monotonic() < ends_at:
        fault, _ = chance.choice(faults)
        yield fault, number
        number += 1


@contextlib.contextmanager
def _stage(*, say: Say, chance: random.Random, tickers: int, sockets: int, logs: Path | None) -> Iterator[Stage]:
    """The product, warm: people log in, sweeps close, every socket has heard of one."""
    with contextlib.ExitStack() as ending:
        say("starting the whole product, under its supervisor")
        installation = ending.enter_context(installed(tickers=tickers))
        if logs is not None:
            ending.callback(installation.keep_logs, logs)
        passwords = prepare(installation, period=PERIOD, people=PEOPLE)
        product, port = installation.product, int(installation.values["WEB_PORT"])
        cookies = [product.log_in(*login, port).cookies["sessionid"] for login in passwords.items()]
        audience = ending.enter_context(Audience(port))
        memory = ending.enter_context(Memory(installation))
        audience.seat(cookies[number % len(cookies)] for number in range(sockets))
        since = datetime.fromtimestamp(time.time() // PERIOD * PERIOD, UTC)
        stage = Stage(installation, audience, cookies, memory, PERIOD, chance, say, since)
        say("warming up")
        seconds, trouble = stage.wait_until_normal(within=GIVE_UP)
        if seconds == float("inf"):
            raise DidNotStart(f"the product never came into its rhythm: {trouble}\n{installation.last_lines()}")
        stage.since = stage.settled()
        stage.checked = time.time()
        say(f"in its rhythm after {seconds:.0f} s: a sweep of {tickers} tickers every {PERIOD} s, {sockets} sockets")
        yield stage


def prepare(installation: Installation, *, period: int, people: int) -> dict[str, str]:
    """Gives the product its rhythm and its people, and Postgres a memory for commits. Gives name -> password."""
    with contextlib.closing(psycopg2.connect(installation.values["DATABASE_URL"])) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("ALTER SYSTEM SET track_commit_timestamp = on")
    before = installation.pid("postgres")
    installation.kill("postgres")  # it must start anew to do so
    installation.wait_for("another Postgres", lambda: installation.pid("postgres") not in (None, before), 30)
    installation.wait_for("Postgres", lambda: _answers(installation), 30)
    return installation.prepared(period=period, people=people)


def _answers(installation: Installation) -> bool:
    try:
        return bool(installation.product.query("SELECT 1"))
    except psycopg2.OperationalError:
        return False


def _round(stage: Stage, fault: Fault, at: str) -> Round:
    """One fault, and everything that is then looked at."""
    _wait(stage, at)
    since, kept = stage.settled(), Kept(stage.installation.product.query)
    struck_at = datetime.now(UTC)
    clean_up, seen, broken = _inflict(stage, fault)
    held = (datetime.now(UTC) - struck_at).total_seconds()
    recovery, trouble = stage.wait_until_normal(within=GIVE_UP)
    try:
        found, lost, heard = _violations(stage, since=since), kept.lost(), stage.heard()
    except psycopg2.Error as problem:
        found, lost, heard = [Violation("no answer of Postgres", 1, str(problem).strip())], {}, Heard()
    if clean_up is not None:
        clean_up()
    return Round(
        struck_at=struck_at, at=at, held=held, recovery=recovery, within=fault.within, trouble=trouble, violations=(*broken, *found),
        seen=seen if fault.is_unseen else "",
        kept=kept.number, lost=lost, heard=heard,
    )  # fmt: skip


def _inflict(stage: Stage, fault: Fault) -> tuple[CleanUp | None, str, list[Violation]]:
    """The fault from beginning to end; what went wrong first while it lasted; and the fault itself, if it failed: one
    round is spoilt then, and the others still tell what they found."""
    seen = ""
    with ThreadPoolExecutor(1) as thread:
        inflicting = thread.submit(fault.inflict, stage)
        while not inflicting.done():
            seen = seen or stage.trouble()
            wait([inflicting], LOOK_EVERY)
        try:
            return inflicting.result(), seen, []
        except Exception as problem:  # noqa: BLE001 (whatever it is, it is told)
            stage.say("".join(traceback.format_exception(problem)))
            return None, seen, [Violation("the fault itself failed", 1, f"{type(problem).__name__}: {problem}")]


def _wait(stage: Stage, at: str) -> None:
    if at == "any":
        stage.wait_at_random()
    else:
        stage.wait_for_slot(minute=at == "candle")


def _violations(stage: Stage, *, since: datetime) -> list[Violation]:
    """Of the slots from `since` on, less those that still have time."""
    until = max(since, stage.settled())
    query = stage.installation.product.query
    return violations(query, since=since, until=until, period=stage.period)
