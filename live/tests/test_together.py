from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from live.together import Together


class Oracle:
    """Answers with the length of the question; knows nothing of `unknown`."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.is_away = False

    async def ask_all(self, questions: Sequence[str]) -> Mapping[str, int]:
        self.asked.append(sorted(questions))
        await asyncio.sleep(0)
        if self.is_away:
            raise ConnectionResetError("away")
        return {question: len(question) for question in questions if question != "unknown"}


async def test_what_is_asked_about_the_same_time_is_asked_once() -> None:
    oracle = Oracle()
    together = Together(oracle.ask_all, within=0.01)

    answers = await asyncio.gather(*map(together.ask, ["a", "bb", "a", "unknown"]))
    later = await together.ask("ccc")

    assert answers == [1, 2, 1, None]
    assert later == 3
    assert oracle.asked == [["a", "bb", "unknown"], ["ccc"]]


async def test_one_who_leaves_takes_nobodys_answer_with_him() -> None:
    together = Together(Oracle().ask_all, within=0.01)
    leaving, staying = (asyncio.create_task(together.ask(question)) for question in ("a", "bb"))
    await asyncio.sleep(0)

    leaving.cancel()

    assert await staying == 2
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_all_who_asked_are_told_of_a_failure_and_the_next_are_asked_anew() -> None:
    oracle = Oracle()
    together = Together(oracle.ask_all, within=0.01)
    oracle.is_away = True

    failures = await asyncio.gather(*map(together.ask, ["a", "bb"]), return_exceptions=True)
    oracle.is_away = False

    assert [type(failure) for failure in failures] == [ConnectionResetError] * 2
    assert await together.ask("a") == 1


def test_each_event_loop_asks_for_itself() -> None:
    together = Together(Oracle().ask_all, within=0.01)

    async def leave_one_unanswered() -> None:
        asyncio.create_task(together.ask("a"))  # noqa: RUF006 (it is to be left)
        await asyncio.sleep(0)

    asyncio.run(leave_one_unanswered())

    assert asyncio.run(together.ask("bb")) == 2
