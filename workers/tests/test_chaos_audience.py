"""When a socket must have what was committed, and what the check of the sockets finds."""

from __future__ import annotations

import pytest

from workers.chaos.audience import Commit, Connection, Heard, Watcher, check, deadline

KEY = (7, "BTCUSDT", 1_000)
FOR_EVER = float("inf")


def watcher(*connections: tuple[float, float], at: float | None = None) -> Watcher:
    """One who was connected at these times and heard of KEY at `at`, if given."""
    one = Watcher("ws://nowhere", "", "")
    one.connections = [Connection(*both) for both in connections]
    one.heard = {} if at is None else {KEY: (at, "BUY")}
    return one


def checked(one: Watcher, *, asked_at: float = 1_000.0, signal: str = "BUY", committed: float = 100.0) -> Heard:
    return check([one], [Commit(KEY, signal, committed)], since=0.0, asked_at=asked_at)


@pytest.mark.parametrize(
    ("committed", "connections", "expected"),
    [
        (100.0, [(50.0, FOR_EVER)], 110.0),  # connected all the time
        (100.0, [(50.0, 90.0), (104.0, FOR_EVER)], 114.0),  # away when it was committed
        (100.0, [(50.0, 105.0), (120.0, FOR_EVER)], 130.0),  # cut off before its time was over
        (100.0, [(50.0, 111.0), (120.0, FOR_EVER)], 110.0),  # cut off after it
        (100.0, [(50.0, 90.0), (104.0, 106.0), (200.0, 220.0)], 210.0),  # a reconnection that did not last
        (100.0, [(50.0, 90.0)], FOR_EVER),  # not back
        (100.0, [], FOR_EVER),
    ],
)
def test_a_socket_has_ten_seconds_of_connection_for_what_is_committed(
    committed: float, connections: list[tuple[float, float]], expected: float
) -> None:
    assert deadline(committed, [Connection(*both) for both in connections]) == expected


def test_what_comes_in_time_is_measured_and_not_complained_of() -> None:
    found = checked(watcher((50, FOR_EVER), at=103.5))

    assert (found.late, found.lost, found.contradicted, found.slowest) == (0, 0, 0, 3.5)


@pytest.mark.parametrize("late", [watcher((50, FOR_EVER), at=110.5), watcher((50, FOR_EVER))])
def test_what_comes_late_or_never_is_found(late: Watcher) -> None:
    found = checked(late)

    assert found.late == 1
    assert "BTCUSDT" in found.example


def test_what_has_time_left_is_not_late_yet() -> None:
    assert checked(watcher((50, FOR_EVER)), asked_at=109.0).late == 0


def test_what_was_late_at_the_last_check_is_not_told_again() -> None:
    late = watcher((50, FOR_EVER))
    commits = [Commit(KEY, "BUY", 100.0)]

    assert check([late], commits, since=0.0, asked_at=111.0).late == 1
    assert check([late], commits, since=111.0, asked_at=1_000.0).late == 0


def test_a_watcher_who_came_later_is_owed_nothing_from_before() -> None:
    assert checked(watcher((101, FOR_EVER))).late == 0


def test_a_verdict_that_was_told_and_is_not_in_postgres_is_lost() -> None:
    found = check([watcher((50, FOR_EVER), at=100.0)], [], since=0.0, asked_at=1_000.0)

    assert found.lost == 1


def test_a_verdict_told_after_postgres_was_asked_is_not_lost() -> None:
    assert check([watcher((50, FOR_EVER), at=100.0)], [], since=0.0, asked_at=99.0).lost == 0


def test_a_verdict_that_was_told_otherwise_is_found() -> None:
    assert checked(watcher((50, FOR_EVER), at=101.0), signal="SELL").contradicted == 1


def test_what_no_check_will_ask_for_is_forgotten_and_the_rest_is_still_found() -> None:
    one = watcher((50, 90), (104, 300), (310, FOR_EVER), at=105.0)
    one.heard[7, "ETHUSDT", 2_000] = (205.0, "BUY")
    one.refetches, one.corrections = [60.0, 250.0], [70.0]

    one.forget(200.0)

    assert list(one.heard) == [(7, "ETHUSDT", 2_000)]
    assert (one.refetches, one.corrections) == ([250.0], [])
    assert one.connections == [Connection(104, 300), Connection(310)]
    assert checked(one, committed=305.0).late == 1  # it was away, and is still owed it
