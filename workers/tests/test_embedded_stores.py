from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from workers import embedded, resp
from workers.embedded import Postgres, Store, StoreDidNotStart, Valkey, free_port
from workers.processes import identity, ticks
from workers.wheels import Account, Programs


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that the stores' account can pass through; pytest's own are closed, and closed again by every run."""
    with tempfile.TemporaryDirectory(prefix="boritrader-tests-of-stores-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        monkeypatch.setattr(embedded, "OWN_FOLDER", folder / "own")
        yield folder


@pytest.fixture
def postgres(home: Path) -> Iterator[Postgres]:
    store = Postgres(home / "postgres", free_port(), settings={"fsync": "off"})
    yield store
    store.stop()


@pytest.fixture
def valkey(home: Path) -> Iterator[Valkey]:
    store = Valkey(home / "valkey", free_port(), is_durable=True)
    yield store
    store.stop()


def query(url: str, sql: str) -> object:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(sql)
        row = cursor.fetchone() if cursor.description else None
    connection.close()
    return row[0] if row else None


def fill(store: Valkey) -> None:
    for number in range(100):
        resp.ask(store.url, "SET", f"more{number}", "x" * 100_000)


def running(store: Store) -> int:
    assert store.process is not None
    return store.process.pid


def test_postgres_keeps_its_data_over_a_restart(postgres: Postgres) -> None:
    postgres.start()
    query(postgres.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    postgres.stop()

    postgres.start()

    assert query(postgres.url, "SELECT answer FROM kept") == 42


def test_postgres_sorts_and_folds_unicode_the_same_on_every_machine(postgres: Postgres) -> None:
    postgres.start()

    assert query(postgres.url, "SELECT 'ÄÖ' ILIKE 'äö' AND current_setting('TimeZone') = 'UTC'") is True


def test_a_durable_valkey_keeps_its_data_over_a_restart(valkey: Valkey) -> None:
    valkey.start()
    resp.ask(valkey.url, "SET", "kept", "yes")
    valkey.stop()

    valkey.start()

    assert resp.ask(valkey.url, "GET", "kept") == "yes"


def test_a_valkey_that_is_not_durable_comes_back_empty(home: Path) -> None:
    store = Valkey(home / "live", free_port(), is_durable=False)
    store.start()
    resp.ask(store.url, "SET", "gone", "yes")
    store.stop()

    store.start()
    found = resp.ask(store.url, "GET", "gone")
    store.stop()

    assert found is None


def test_a_full_valkey_refuses_and_never_evicts(home: Path) -> None:
    store = Valkey(home / "small", free_port(), is_durable=False, maxmemory="3mb")
    store.start()
    resp.ask(store.url, "SET", "first", "x")

    with pytest.raises(resp.StoreRefused, match="OOM"):
        fill(store)

    assert resp.ask(store.url, "GET", "first") == "x"
    store.stop()


def test_nobody_gets_in_without_the_password(postgres: Postgres, valkey: Valkey) -> None:
    postgres.start()
    valkey.start()

    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        query(postgres.url.replace(postgres.password, "guessed"), "SELECT 1")
    with pytest.raises(resp.StoreRefused, match="WRONGPASS"):
        resp.ask(valkey.url.replace(valkey.password, "guessed"), "PING")
    with pytest.raises(resp.StoreRefused, match="NOAUTH"):
        resp.ask(f"redis://127.0.0.1:{valkey.port}/0", "PING")


def test_passwords_are_in_closed_files_and_on_no_command_line(postgres: Postgres, valkey: Valkey) -> None:
    for store in (postgres, valkey):
        store.start()

        assert stat.S_IMODE((store.folder / "password").stat().st_mode) == 0o600
        assert store.password not in Path(f"/proc/{running(store)}/cmdline").read_text()
        assert not list(store.folder.glob("password.*"))


def test_stores_never_run_as_root_and_open_no_folder(postgres: Postgres, valkey: Valkey) -> None:
    outside = [*postgres.folder.parents, *Programs.located().postgres.parents, Programs.located().valkey]
    before = [path.stat().st_mode for path in outside]

    for store in (postgres, valkey):
        store.start()
        assert Path(f"/proc/{running(store)}").stat().st_uid != 0
        assert stat.S_IMODE(store.data.stat().st_mode) == 0o700

    assert [path.stat().st_mode for path in outside] == before


def test_in_a_closed_folder_root_keeps_the_data_elsewhere(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)

    for _ in range(2):
        store = Valkey(closed / "valkey", free_port(), is_durable=True)
        store.start()
        assert resp.ask(store.url, "INCR", "starts") == _ + 1
        store.stop()

    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert store.folder.is_relative_to(home / "own" if os.geteuid() == 0 else closed)


def test_programs_that_cannot_be_reached_are_copied_and_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workers import wheels

    monkeypatch.setattr(wheels, "OWN_FOLDER", home / "own")
    monkeypatch.setattr(Account, "can_reach", lambda *_: False)
    copied = Programs.located.__wrapped__(Programs)

    account = Account.of_stores()
    for program in (copied.postgres / "initdb", copied.valkey):
        assert program.is_relative_to(home / "own")
        assert account.run([str(program), "--version"]).returncode == 0


@pytest.mark.parametrize("one", [signal.SIGKILL, signal.SIGTERM])
def test_a_store_that_was_killed_starts_again_with_its_data(
    postgres: Postgres, valkey: Valkey, one: signal.Signals
) -> None:
    postgres.start()
    query(postgres.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    valkey.start()
    for store in (postgres, valkey):
        os.kill(running(store), one)
        assert store.process is not None
        store.process.wait(30)

    for store in (postgres, valkey):
        store.start()

    assert query(postgres.url, "SELECT answer FROM kept") == 42


def test_a_server_left_behind_is_ended_before_the_next_one_starts(postgres: Postgres, valkey: Valkey) -> None:
    for store in (postgres, valkey):
        store.start()
    left = [running(postgres), running(valkey)]
    successors = [
        Postgres(postgres.folder, free_port(), settings={"fsync": "off"}),
        Valkey(valkey.folder, free_port(), is_durable=True),
    ]

    for successor in successors:
        successor.start()

    assert [identity(pid) for pid in left] == [None, None]
    for successor in successors:
        successor.stop()


def test_a_stranger_with_a_remembered_number_is_neither_killed_nor_in_the_way(postgres: Postgres) -> None:
    postgres.start()
    postgres.stop()
    with subprocess.Popen(["/bin/sleep", "600"], user=postgres.account.uid) as stranger:
        (postgres.folder / "pid").write_text(f"{stranger.pid} some other start\n")
        lines = [stranger.pid, postgres.data, 1, postgres.port, "", "127.0.0.1", 0, "ready"]
        (postgres.data / "postmaster.pid").write_text("\n".join(map(str, lines)))

        postgres.start()

        assert stranger.poll() is None
        stranger.kill()


def test_a_taken_port_is_an_error_with_the_servers_own_words(postgres: Postgres, valkey: Valkey) -> None:
    valkey.start()
    postgres.port = valkey.port

    with pytest.raises(StoreDidNotStart, match="Address already in use"):
        postgres.start()

    assert postgres.process is None


def test_a_store_does_not_outlive_a_killed_parent(home: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from workers.embedded import *;"
        f"s = Valkey(Path({str(home / 'orphan')!r}), free_port(), is_durable=False);"
        "s.start(); print(s.process.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert identity(pid) is not None
        parent.kill()

    assert any(identity(pid) is None for _ in ticks(30))
