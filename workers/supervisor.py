"""`make run`: every process of the product on this machine, under one supervisor. Standard library only.

Run as `.venv/bin/python -m workers.supervisor`. Everything it writes is in `.run/`, or where RUN_FOLDER says (as root,
stores may be in a folder of their own: see workers.wheels): `env` for the other processes and for `manage.py shell`,
logs, pid files, the stores.
Variables: .env.example. Ends with code 0 after Ctrl-C or SIGTERM, 1 when it could not start.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import secrets
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from workers.embedded import Postgres, Store, StoreDidNotStart, Valkey
from workers.queues import RECORD_PATIENCE, QueueWatch
from workers.supervision import AlreadyRunning, Program, ProgramFailed, StopRequested, Supervisor, command
from workers.wheels import CHECKOUT, StoreMissing

RUN = Path(os.environ.get("RUN_FOLDER") or CHECKOUT / ".run").absolute()
# The variable that moves it, what it is for, where it is unless moved: below the ports that systems give to outgoing
# connections (from 32768), which would now and then be in the way.
PORTS = {
    "WEB_PORT": ("the web pages", 8000),
    "FLOWER_PORT": ("Flower", 5555),
    "POSTGRES_PORT": ("Postgres", 25432),
    "BROKER_PORT": ("the broker's Valkey", 26379),
    "LIVE_PORT": ("the live Valkey", 26380),
    "SIMULATOR_PORT": ("the simulated exchange", 28480),
}
# The variable that says a store runs elsewhere, and the port that is not needed then.
STORES = {"DATABASE_URL": "POSTGRES_PORT", "BROKER_URL": "BROKER_PORT", "LIVE_URL": "LIVE_PORT"}
EXCHANGES = ("simulated", "binance")
# Variables whose values are not for a screen, by their names; those of other people's servers may hold a password too.
_HIDDEN = re.compile(r"SECRET|PASSWORD|TOKEN|AUTH|DSN|_URL")
# Tasks it remembers: its memory grows until it has so many. Its own default, 10,000, is 30 MB more.
FLOWER_KEEPS = "--max-tasks=2000"
# The category must be one of Python's own: at an interpreter's start no other can be imported.
_NO_WORD_ABOUT_ROOT = "ignore:You're running the worker with superuser privileges:UserWarning"


class CannotStart(Exception):
    """Something about this machine or its variables must be changed first. The message says what."""


def check_exchange(given: Mapping[str, str]) -> None:
    """Raises CannotStart where EXCHANGE is none that we know."""
    name = given.get("EXCHANGE") or EXCHANGES[0]
    if name not in EXCHANGES:
        raise CannotStart(f"EXCHANGE={name} is no exchange we know. Choose {' or '.join(EXCHANGES)}.")


def ports(given: Mapping[str, str]) -> dict[str, int]:
    """The port of everything that will run here, each free now. Raises CannotStart, naming all that are taken."""
    wanted = dict(PORTS)
    for url, variable in STORES.items():
        if given.get(url):
            del wanted[variable]
    if (given.get("EXCHANGE") or "simulated") != "simulated":
        del wanted["SIMULATOR_PORT"]
    texts = {variable: given.get(variable) or str(default) for variable, (_, default) in wanted.items()}
    spoken_for = {int(text) for text in texts.values() if text.isdecimal()}
    chosen: dict[str, int] = {}
    moved: dict[str, int] = {}
    problems = []
    for variable, text in texts.items():
        if not text.isdecimal() or not 0 < int(text) < 65536:
            problems.append(f"{variable}={text} is not a port.")
            continue
        port = int(text)
        twins = [other for other, used in chosen.items() if used == port]
        chosen[variable] = port
        if twins:
            problems.append(f"Port {port} is both {twins[0]} and {variable}. Choose another for one of them.")
        elif _is_taken(port):
            problems.append(f"Port {port}, for {wanted[variable][0]}, is taken. {variable} moves it.")
            taken = spoken_for | set(moved.values())
            moved[variable] = next(free for free in range(port + 1, 65536) if free not in taken and not _is_taken(free))
    if moved:
        problems.append(f"Free now: {_with_ports(given, moved)}")
    if problems:
        raise CannotStart("\n".join(problems))
    return chosen


def _with_ports(given: Mapping[str, str], moved: Mapping[str, int]) -> str:
    """The command that was given, with these ports: all of our variables again, but secrets, which are only named."""
    known = re.findall(r"^([A-Z_]+)=", (CHECKOUT / ".env.example").read_text(), re.MULTILINE)
    others = [name for name in known if given.get(name) and name not in moved]
    hidden = [name for name in others if _HIDDEN.search(name)]
    words = [f"{name}={shlex.quote(given[name])}" for name in others if name not in hidden]
    words += [f"{name}={port}" for name, port in moved.items()]
    secret = f"   (and {', '.join(hidden)} as before)" if hidden else ""
    return f"{' '.join(words)} make run{secret}"


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        # A port in TIME_WAIT can be listened on: servers set this too.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def read_env(path: Path) -> dict[str, str]:
    """The variables of a file that `write_env` wrote; none if there is no file."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def write_env(path: Path, values: Mapping[str, str]) -> None:
    """Writes the file whole or not at all, readable by us alone."""
    half = path.with_name(path.name + ".new")
    half.unlink(missing_ok=True)
    half.touch(mode=0o600)
    half.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    half.replace(path)


def environment(
    given: Mapping[str, str], *, kept: Mapping[str, str], chosen: Mapping[str, int], stores: Mapping[str, str]
) -> dict[str, str]:
    """What `.run/env` says: `given` variables first, then secrets `kept` from the last run, then our defaults."""
    values = {
        **stores,
        "SECRET_KEY": kept.get("SECRET_KEY") or secrets.token_urlsafe(48),
        "FLOWER_BASIC_AUTH": kept.get("FLOWER_BASIC_AUTH") or f"operator:{secrets.token_urlsafe(12)}",
        "EXCHANGE": "simulated",
        "SIMULATOR_TICKERS": "100",
        "WEB_HOST": "127.0.0.1",
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "DEMO": "1",
        "DEBUG": "0",
        **{name: str(port) for name, port in chosen.items()},
    }
    if "SIMULATOR_PORT" in chosen:
        values["SIMULATOR_URL"] = f"http://127.0.0.1:{chosen['SIMULATOR_PORT']}"
    return {name: given.get(name) or value for name, value in values.items()}


def stores(given: Mapping[str, str], chosen: Mapping[str, int]) -> dict[str, Store]:
    """The stores to run here, by the variable that will hold their URL."""
    found: dict[str, Store] = {}
    if "POSTGRES_PORT" in chosen:
        found["DATABASE_URL"] = Postgres(RUN / "postgres", chosen["POSTGRES_PORT"])
    if "BROKER_PORT" in chosen:
        found["BROKER_URL"] = Valkey(RUN / "broker", chosen["BROKER_PORT"], is_durable=True)
    if "LIVE_PORT" in chosen:
        memory = given.get("LIVE_MAXMEMORY") or "1gb"
        found["LIVE_URL"] = Valkey(RUN / "live", chosen["LIVE_PORT"], is_durable=False, maxmemory=memory)
    return found


def store_program(store: Store) -> Program:
    """A store under supervision; it ends after everything that uses it."""

    def launch(output: int) -> subprocess.Popen[bytes]:
        store.prepare()
        return store.launch(output)

    ending = tuple(
        (one, min(seconds, 3.0 if number == 0 else 0.5)) for number, (one, seconds) in enumerate(store.ending)
    )
    return Program(store.folder.name, launch, stage=2, ending=ending)


def programs(values: Mapping[str, str]) -> list[Program]:
    """Every process but the stores, in the order of starting. `values` is what `.run/env` says.

    The simulated exchange comes first: it needs no database, and the rows of the others are made from its tickers.
    """
    celery = ("-m", "celery", "-A", "workers", "--quiet")
    worker = ("-m", "workers.worker", "--without-gossip", "--without-mingle", "-E", "-c")
    # One task at a time, and none fetched ahead: what waits behind a replay waits in the queue, where it is counted and
    # where the broker's time-out does not deliver it twice. A multiplier of 1 alone would still fetch one.
    one_by_one = ("--prefetch-multiplier", "1", "--disable-prefetch")
    table: list[tuple[str, tuple[str, ...]]] = [
        ("heartbeat", ("manage.py", "run_heartbeat")),
        ("worker-sweep", (*worker, "2", "-Q", "sweep,steering", "-n", "sweep@%h")),
        ("worker-default", (*worker, "2", "-Q", "premium,mail,default", "-n", "default@%h")),
        ("worker-record", (*worker, "1", *one_by_one, "-Q", "record", "-n", "record@%h")),
        ("beat", (*celery, "beat", "-S", "workers.beat:SlotScheduler", "--pidfile=")),
        ("flower", (*celery, "flower", "--address=127.0.0.1", f"--port={values['FLOWER_PORT']}", FLOWER_KEEPS)),
        ("web", web_command(values["WEB_HOST"], values["WEB_PORT"])),
    ]
    if values["EXCHANGE"] == "simulated":
        arguments = ("run_simulator", "--port", values["SIMULATOR_PORT"], "--tickers", values["SIMULATOR_TICKERS"])
        table.insert(0, ("simulator", ("manage.py", *arguments)))
    return [python(name, *argv, values=values) for name, argv in table]


def web_command(host: str, port: str) -> tuple[str, ...]:
    """The web server: one process; open WebSockets are closed 3 s after the wish to end."""
    application = ("-m", "uvicorn", "boritrader.asgi:application", "--host", host, "--port", port)
    # Compression costs a third of the throughput and gains little on short frames; clients send short messages.
    sockets = (
        "--ws",
        "live.websocket:LiveProtocol",
        "--ws-max-size",
        "65536",
        "--ws-per-message-deflate",
        "false",
        "--no-access-log",
    )
    return (*application, *sockets, "--lifespan", "on", "--timeout-graceful-shutdown", "3")


def python(name: str, *argv: str, values: Mapping[str, str]) -> Program:
    """A program of this interpreter, with our environment and `values` in it."""
    env = {**os.environ, **values, "PROCESS_NAME": name, "PYTHONUNBUFFERED": "1"}
    if name.startswith("worker"):
        env["CONN_MAX_AGE"] = env.get("CONN_MAX_AGE") or "600"  # only the web tier must not keep its connections
        # Celery's seven lines against root, in each worker at each start. Its danger is pickled messages; ours are JSON.
        env["PYTHONWARNINGS"] = ",".join(filter(None, [env.get("PYTHONWARNINGS"), _NO_WORD_ABOUT_ROOT]))
    return command(name, sys.executable, *argv, env=env, folder=CHECKOUT)


def watch_worker(supervisor: Supervisor, name: str, watch: QueueWatch) -> bool:
    """A chore: kills the worker if it takes nothing from a queue in which tasks wait. Never done."""
    queue = watch.stuck_queue(now=time.monotonic(), started=supervisor.started_at(name))
    if queue is not None:
        supervisor.kill(name, because=f"tasks wait in the queue {queue} and none is taken")
    return False


def reached_at(host: str) -> str:
    """Where to ask a server that binds `host`: two of those addresses mean all that the machine has."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (bound by whoever wishes it)


def announce(supervisor: Supervisor, values: Mapping[str, str]) -> bool:
    """A chore: says where everything is, once the web answers."""
    host = reached_at(values["WEB_HOST"])
    try:
        web = http.client.HTTPConnection(host, int(values["WEB_PORT"]), timeout=1)
        with contextlib.closing(web):
            web.request("GET", "/livez")
            web.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    market = "a simulated market" if values["EXCHANGE"] == "simulated" else f"the market of {values['EXCHANGE']}"
    page = f"http://{f'[{host}]' if ':' in host else host}:{values['WEB_PORT']}"
    for line in (
        f"Boritrader runs, on {market}.",
        f"  Signals   {page}/",
        f"  Record    {page}/record/",
        f"  Admin     {page}/admin/",
        f"  Health    {page}/readyz",
        f"  Flower    http://127.0.0.1:{values['FLOWER_PORT']}/  (user operator, password in {_shown(RUN)}/env)",
        f"  Logs      {_shown(RUN)}/logs/",
        *demo_people(RUN / "logs" / "bootstrap.log"),
        "Ctrl-C stops everything; the data stay.",
    ):
        supervisor.say(line)
    return True


def _shown(path: Path) -> str:
    """A path as people read it: from the checkout on, where it is inside."""
    return str(path.relative_to(CHECKOUT) if path.is_relative_to(CHECKOUT) else path)


def demo_people(log: Path) -> list[str]:
    """What bootstrap said last about whom to log in as; nothing where there are no demo people."""
    lines = log.read_text().splitlines() if log.exists() else []
    said = [line[line.index("  demo  ") :] for line in lines if "  demo  " in line]
    return said[-3:]


def run(given: Mapping[str, str]) -> None:
    """Starts everything and keeps it running until it is asked to end: then raises StopRequested."""
    check_exchange(given)
    with Supervisor(RUN) as supervisor:
        chosen = ports(given)
        kept = read_env(RUN / "env")
        here = stores(given, chosen)
        kept_stores = {store_program(store): store for store in here.values()}
        for program in kept_stores:
            supervisor.keep(program)
        for program, store in kept_stores.items():
            supervisor.wait_until(program.name, store.is_ready, timeout=60)
        urls = {name: here[name].url if name in here else given[name] for name in STORES}
        values = environment(given, kept=kept, chosen=chosen, stores=urls)
        write_env(RUN / "env", values)
        needs_exchange = programs(values)
        if needs_exchange[0].name == "simulator":
            supervisor.keep(needs_exchange.pop(0))
            supervisor.wait_until("simulator", lambda: _is_taken(chosen["SIMULATOR_PORT"]), timeout=60)
        supervisor.run(python("migrate", "manage.py", "migrate", "--no-input", values=values))
        supervisor.run(python("bootstrap", "manage.py", "bootstrap", values=values))
        for program in needs_exchange:
            supervisor.keep(program)
        sweep = QueueWatch(urls["BROKER_URL"], ["sweep", "steering"], patience=30)
        # Discovery may rightly take its hard limit of a minute.
        default = QueueWatch(urls["BROKER_URL"], ["premium", "mail", "default"], patience=120)
        record = QueueWatch(urls["BROKER_URL"], ["record"], patience=RECORD_PATIENCE)
        supervisor.every(5, lambda: watch_worker(supervisor, "worker-sweep", sweep))
        supervisor.every(5, lambda: watch_worker(supervisor, "worker-default", default))
        supervisor.every(5, lambda: watch_worker(supervisor, "worker-record", record))
        supervisor.every(0.5, lambda: announce(supervisor, values))
        supervisor.wait()


def main() -> int:
    RUN.mkdir(parents=True, exist_ok=True)
    RUN.chmod(0o711)  # as root, the stores' account passes through to its own folders
    try:
        run(os.environ)
    except StopRequested:
        return 0
    except AlreadyRunning as problem:
        sys.stderr.write(f"Boritrader already runs here (pid {problem}). Stop it with Ctrl-C, or: kill {problem}\n")
    except (CannotStart, ProgramFailed, StoreMissing, StoreDidNotStart) as problem:
        sys.stderr.write(f"{problem}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
