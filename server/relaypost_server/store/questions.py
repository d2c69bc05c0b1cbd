"""Asks the database many questions of one kind at once.

A lone question is asked at once. While it is on its way others gather, and go
together; of several about the same thing one goes at a time.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from relaypost_server.cancellation import is_cancelled
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
        self,
        ask_all: Callable[[Sequence[Q]], Awaitable[Mapping[Q, A]]],
        *,
        final: Callable[[A], bool],
        commands: bool = False,
        take_back: Callable[[Sequence[A]], Awaitable[None]] | None = None,
    ) -> None:
        """`ask_all`: the answers by question; one that is left out is asked again.

        `final`: whether an answer holds for everybody who asks the same now.
        `commands`: a question is carried out even if every task that sent it was cancelled.
        `take_back`: gets answers, other than final ones, for which no task waited any more.
        """
        self._ask_all = ask_all
        self._final = final
        self._commands = commands
        self._take_back = take_back
        self._unclaimed: list[A] = []
        self._waiting: dict[Q, deque[asyncio.Future[A]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """The answer. Raises what `ask_all` raised."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(question, deque()).append(answer)
        self._start()
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:  # It came at that very moment.
                self._leave(answer.result())
                self._start()
            raise

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while (questions := self._next()) or self._unclaimed:
            await self._ask(questions)
            await self._take_back_unclaimed()
            if len(questions) > 1:
                await asyncio.sleep(GATHER_SECONDS)

    def _leave(self, answer: A) -> None:
        if self._take_back is not None and not self._final(answer):
            self._unclaimed.append(answer)

    async def _take_back_unclaimed(self) -> None:
        answers, self._unclaimed = self._unclaimed, []
        if answers and self._take_back is not None:
            with suppress(LogUnavailableError):
                await self._take_back(answers)

    def _next(self) -> Sequence[Q]:
        """The oldest questions. Drops those whose senders were all cancelled, unless they are commands."""
        if not self._commands:
            for question in [q for q, waiting in self._waiting.items() if all(answer.done() for answer in waiting)]:
                del self._waiting[question]
        return list(self._waiting)[:LARGEST]

    async def _ask(self, questions: Sequence[Q]) -> None:
        if not questions:
            return
        try:
            answers = await self._ask_all(questions)
        except LogUnavailableError as error:
            self._fail(questions, error)
        except Exception as error:
            if len(questions) == 1:
                self._fail(questions, error)
            else:  # One of them is at fault: the others must not fail with it.
                for question in questions:
                    await self._ask([question])
        except asyncio.CancelledError:  # Otherwise the senders would wait for ever.
            self._fail(questions, LogUnavailableError())
            if is_cancelled():
                raise
        else:
            for question, answer in answers.items():
                self._settle(question, answer)

    def _settle(self, question: Q, answer: A) -> None:
        """Gives the answer to those who still wait: to all where it is final, else to the first."""
        waiting = deque(each for each in self._waiting.pop(question) if not each.done())
        if not waiting:
            self._leave(answer)
        while waiting:
            waiting.popleft().set_result(answer)
            if not self._final(answer):
                break
        if waiting:  # To the end of the queue.
            self._waiting[question] = waiting

    def _fail(self, questions: Sequence[Q], error: Exception) -> None:
        for question in questions:
            for answer in self._waiting.pop(question):
                if not answer.done():
                    answer.set_exception(error)
