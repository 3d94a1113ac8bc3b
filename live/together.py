"""Questions that many sockets ask about the same time, answered together: one query instead of thousands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")


class Together(Generic[Question, Answer]):
    """Collects the questions of `within` seconds and asks them all at once.

    `ask_all` gives the answers by question; one it leaves out is answered None. If it raises, all who asked are told.
    """

    def __init__(
        self, ask_all: Callable[[Sequence[Question]], Awaitable[Mapping[Question, Answer]]], *, within: float = 0.1
    ) -> None:
        self._ask_all = ask_all
        self._within = within
        self._gathering: WeakKeyDictionary[
            asyncio.AbstractEventLoop, tuple[list[Question], asyncio.Task[Mapping[Question, Answer]]]
        ] = WeakKeyDictionary()

    async def ask(self, question: Question) -> Answer | None:
        """The answer to one question. Raises what `ask_all` raises."""
        loop = asyncio.get_running_loop()
        if loop not in self._gathering:
            questions: list[Question] = []
            self._gathering[loop] = questions, loop.create_task(self._gather(loop, questions))
        questions, answers = self._gathering[loop]
        questions.append(question)
        # Shielded: a socket that goes away meanwhile does not take the others' answers with it.
        return (await asyncio.shield(answers)).get(question)

    async def _gather(
        self, loop: asyncio.AbstractEventLoop, questions: Sequence[Question]
    ) -> Mapping[Question, Answer]:
        await asyncio.sleep(self._within)
        del self._gathering[loop]
        return await self._ask_all(list(dict.fromkeys(questions)))
