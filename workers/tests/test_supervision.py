"""The supervisor with short commands: each test starts a real one in a process of its own and reads its lines."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workers.processes import PidFile, identity, ticks
from workers.supervision import FIRST_DELAY, LONGEST_DELAY, STEADY_AFTER, next_delay
from workers.tests.running import Running

# argv: the folder, then name=shell command for each program; `1:name` runs once, `2:name` ends after the others.
_SUPERVISOR = """
import os, sys
from dataclasses import replace
from pathlib import Path
from workers.supervision import *
folder = Path(sys.argv[1])
try:
    with Supervisor(folder) as supervisor:
        for argument in sys.argv[2:]:
            name, script = argument.split("=", 1)
            kind, _, name = name.rpartition(":")
            program = command(name, "/bin/sh", "-c", script, env=os.environ, folder=folder)
            if kind == "1":
                supervisor.run(program)
            else:
                supervisor.keep(replace(program, stage=2) if kind == "2" else program)
        supervisor.say("all started")
        supervisor.wait()
except StopRequested:
    sys.exit(0)
except (AlreadyRunning, ProgramFailed) as problem:
    print(type(problem).__name__, problem)
    sys.exit(1)
"""


Supervise = Callable[..., Running]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Supervise]:
    started: list[Running] = []

    def start(*programs: str) -> Running:
        started.append(Running(_SUPERVISOR, str(tmp_path), *programs))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.terminate()
            one.process.wait(60)


def is_gone(pid: int) -> bool:
    return any(identity(pid) is None for _ in ticks(30))


def test_a_program_that_ends_is_started_again(supervise: Supervise) -> None:
    one = supervise("steady=exec sleep 600", "short=echo working; exit 3")
    steady, first = one.pid_of("steady"), one.pid_of("short")

    one.line(r"^short +\| working")
    one.line(r"^supervisor +\| short ended with code 3; starting it again in 0.5 s")
    second = one.pid_of("short")
    one.line(r"starting it again in 1 s")

    assert second != first
    assert identity(steady) is not None


def test_a_killed_program_is_started_again_without_its_children(supervise: Supervise) -> None:
    one = supervise("pool=echo child $$; sleep 601 & echo child $!; wait")
    leader = one.pid_of("pool")
    one.line(r"child \d+")
    child = int(one.line(r"child (\d+)")[1])

    os.kill(leader, signal.SIGKILL)

    one.line(r"^supervisor +\| pool ended with signal SIGKILL")
    assert is_gone(child)
    assert one.pid_of("pool") != leader


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_end_comes_in_order_and_leaves_nothing(supervise: Supervise, tmp_path: Path, asked: signal.Signals) -> None:
    one = supervise("2:store=exec sleep 600", "web=exec sleep 600", "pool=sleep 600 & sleep 600 & wait")
    pids = [one.pid_of(name) for name in ("store", "web", "pool")]
    one.line("all started")

    code = one.end(asked)

    assert code == 0
    assert [identity(pid) for pid in pids] == [None, None, None]
    assert list((tmp_path / "pids").iterdir()) == []
    ended = [line.split()[0] for line in one.seen if line.endswith("| ended")]
    assert sorted(ended[:2]) == ["pool", "web"]
    assert ended[2:] == ["store"]


def test_what_refuses_to_end_is_killed(supervise: Supervise) -> None:
    one = supervise("stubborn=trap '' TERM; echo ready; while true; do sleep 0.1; done")
    pid = one.pid_of("stubborn")
    one.line("ready")

    assert one.end() == 0
    assert identity(pid) is None


def test_what_a_killed_supervisor_left_is_ended_by_the_next(supervise: Supervise) -> None:
    # It ignores the kernel's SIGTERM at its parent's death, so that only the pid file can find it.
    first = supervise("stubborn=trap '' TERM; echo ready; while true; do sleep 0.1; done", "polite=exec sleep 600")
    stubborn, polite = first.pid_of("stubborn"), first.pid_of("polite")
    first.line("all started")
    first.process.kill()
    first.process.wait()
    assert is_gone(polite)
    assert identity(stubborn) is not None

    second = supervise("new=exec sleep 600")
    second.line(rf"^supervisor +\| ending stubborn \(pid {stubborn}\), left behind")
    second.line("all started")

    assert identity(stubborn) is None


def test_a_stranger_with_a_remembered_number_is_left_alone(supervise: Supervise, tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "600"]) as stranger:
        (tmp_path / "pids").mkdir()
        (tmp_path / "pids" / "web").write_text(f"{stranger.pid} another boot 12345\n")

        supervise("new=exec sleep 600").line("all started")

        assert stranger.poll() is None
        stranger.kill()


def test_a_second_supervisor_is_refused_and_disturbs_nothing(supervise: Supervise) -> None:
    first = supervise("steady=exec sleep 600")
    pid = first.pid_of("steady")
    first.line("all started")

    second = supervise("other=exec sleep 600")

    second.line(rf"AlreadyRunning {first.process.pid}")
    assert second.process.wait(60) == 1
    assert identity(pid) is not None
    assert first.process.poll() is None


def test_a_step_that_fails_ends_everything(supervise: Supervise) -> None:
    one = supervise("store=exec sleep 600", "1:migrate=echo no such table; exit 4", "web=exec sleep 600")
    store = one.pid_of("store")

    one.line(r"^migrate +\| no such table")
    one.line(r"ProgramFailed migrate ended with code 4")

    assert one.process.wait(60) == 1
    assert identity(store) is None
    assert not any(line.startswith("web") for line in one.seen)


def test_the_end_can_be_asked_for_during_a_step(supervise: Supervise) -> None:
    one = supervise("1:migrate=exec sleep 600", "web=exec sleep 600")
    pid = one.pid_of("migrate")

    assert one.end() == 0
    assert identity(pid) is None


def test_lines_carry_the_name_and_are_kept(supervise: Supervise, tmp_path: Path) -> None:
    one = supervise("talker=echo one; printf 'half '; echo line >&2; printf 'no end'; exec sleep 600")

    one.line(r"^talker +\| one$")
    one.line(r"^talker +\| half line$")
    one.end()

    assert any(re.search(r"^talker +\| no end$", line) for line in one.seen)
    kept = (tmp_path / "logs" / "talker.log").read_text()
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} half line$", kept, re.MULTILINE)


def test_what_keeps_ending_is_started_ever_less_often() -> None:
    delay, delays = 0.0, []
    for _ in range(9):
        delay = next_delay(delay, ran_for=0.1)
        delays.append(delay)

    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert max(delays) == LONGEST_DELAY


def test_a_long_good_run_is_forgiven() -> None:
    assert next_delay(LONGEST_DELAY, ran_for=STEADY_AFTER) == FIRST_DELAY


def test_a_pid_file_forgets_a_process_that_has_ended(tmp_path: Path) -> None:
    remembered = PidFile(tmp_path / "pid")
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        remembered.write(process.pid)
        assert remembered.running() == process.pid
        process.kill()

    assert remembered.running() is None
