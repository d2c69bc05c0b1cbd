"""Asks the database many questions of one kind at once.

A lone question is asked at once. While it is on its way others gather, and go
together; of several about the same thing one goes at a time.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from relaypost_server.core.ports import LogUnavailableError

LARGEST = 200
"""Questions in one statement."""
GATHER_SECONDS = 0.003
"""Between two statements of which the first had company."""

Q = TypeVar("Q", bound=Hashable)
A = TypeVar("A")


class Questions(Generic[Q, A]):
    """Needs no start and no stop: it works while something is asked."""

    def __init__(
        self, ask_all: Callable[[Sequence[Q]], Awaitable[Mapping[Q, A]]], *, final: Callable[[A], bool]
    ) -> None:
        """`ask_all`: the answers by question; one that is left out is asked again.

        `final`: whether an answer holds for everybody who asks the same now.
        """
        self._ask_all = ask_all
        self._final = final
        self._waiting: dict[Q, deque[asyncio.Future[A]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """The answer. Raises what `ask_all` raised."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(question, deque()).append(answer)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            questions = list(self._waiting)[:LARGEST]
            try:
                answers = await self._ask_all(questions)
            except Exception as error:
                self._fail(questions, error)
                continue
            except asyncio.CancelledError:  # Those who wait must not wait for ever.
                self._fail(questions, LogUnavailableError())
                raise
            for question, answer in answers.items():
                self._settle(question, answer)
            if len(questions) > 1:
                await asyncio.sleep(GATHER_SECONDS)

    def _settle(self, question: Q, answer: A) -> None:
        waiting = self._waiting.pop(question)
        for _ in range(len(waiting) if self._final(answer) else 1):
            first = waiting.popleft()
            if not first.done():  # Whoever asked may have gone.
                first.set_result(answer)
        if waiting:  # To the end of the queue.
            self._waiting[question] = waiting

    def _fail(self, questions: Sequence[Q], error: Exception) -> None:
        for question in questions:
            for answer in self._waiting.pop(question):
                if not answer.done():
                    answer.set_exception(error)
