from __future__ import annotations

import asyncio
import threading
import time

from redis import ConnectionError as NotConnected

from watch.probe import Probe


async def test_a_crowd_is_answered_by_one_look() -> None:
    looks = []

    def look() -> int:
        time.sleep(0.05)
        looks.append(threading.get_ident())
        return len(looks)

    probe = Probe(look)

    answers = await asyncio.gather(*(probe.ask() for _ in range(500)))

    assert len(looks) == 1
    assert {answer.value for answer in answers} == {1}
    assert looks[0] != threading.get_ident()


async def test_an_answer_is_given_again_while_it_is_fresh_and_looked_for_anew_afterwards() -> None:
    looks: list[None] = []
    probe = Probe(lambda: looks.append(None), fresh_for=0.05)

    await probe.ask()
    await probe.ask()
    assert len(looks) == 1

    await asyncio.sleep(0.06)
    await probe.ask()
    assert len(looks) == 2


async def test_a_store_that_hangs_costs_one_thread_and_nobody_more_than_the_patience() -> None:
    release = threading.Event()
    looks: list[None] = []

    def hang() -> str:
        looks.append(None)
        release.wait(30)
        return "back"

    probe = Probe(hang, patience=0.1, fresh_for=60)
    first = await asyncio.gather(*(probe.ask() for _ in range(50)))
    later = await probe.ask()  # does not wait a second time

    assert {answer.problem for answer in (*first, later)} == {"no answer for 0 s"}
    assert len(looks) == 1
    release.set()
    assert probe._running is not None
    assert (await probe._running).value == "back"
    assert (await probe.ask()).value == "back"
    assert len(looks) == 1


async def test_what_is_away_is_said_without_where_it_would_be() -> None:
    def refuse() -> None:
        raise NotConnected("Error 111 connecting to 10.1.2.3:6379, password=hunter2")

    answer = await Probe(refuse).ask()

    assert answer.problem == "no answer (ConnectionError)"


async def test_an_error_of_ours_is_an_answer_too() -> None:
    answer = await Probe(lambda: 1 // 0).ask()

    assert answer.value is None
    assert answer.problem == "could not be looked at: see the log"
