"""Questions that are asked together: cancelled senders, equal questions, and one that is at fault."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.store.questions import Questions


class Database:
    """Answers a question with its number of asks so far, once it is released."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []
        self.released = asyncio.Event()
        self.errors: dict[str, BaseException] = {}

    async def ask_all(self, questions: Sequence[str]) -> Mapping[str, int]:
        self.asked.append(list(questions))
        await self.released.wait()
        for question in questions:
            if question in self.errors:
                raise self.errors[question]
        return dict.fromkeys(questions, len(self.asked))


async def asking(questions: Questions[str, int], *texts: str) -> list["asyncio.Task[int]"]:
    """Tasks that ask; the first question is on its way alone."""
    tasks = []
    for text in texts:
        tasks.append(asyncio.create_task(questions.ask(text)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return tasks


async def test_a_question_whose_only_sender_is_cancelled_is_not_asked() -> None:
    database = Database()
    questions = Questions(database.ask_all, final=lambda _: False)
    first, gone, other = await asking(questions, "first", "gone", "other")
    gone.cancel()
    database.released.set()
    assert list(await asyncio.gather(first, other)) == [1, 2]
    assert database.asked == [["first"], ["other"]]


async def test_a_command_is_carried_out_though_its_sender_is_cancelled() -> None:
    database = Database()
    questions = Questions(database.ask_all, final=lambda _: True, commands=True)
    first, gone, other = await asking(questions, "first", "gone", "other")
    gone.cancel()
    database.released.set()
    await asyncio.gather(first, other)
    assert database.asked == [["first"], ["gone", "other"]]


async def test_an_answer_for_one_goes_to_a_sender_that_still_waits() -> None:
    """Otherwise a claim is granted that no task has."""
    database = Database()
    questions = Questions(database.ask_all, final=lambda _: False)
    gone, waits = await asking(questions, "same", "same")
    gone.cancel()
    database.released.set()
    assert await waits == 1
    assert database.asked == [["same"]]


async def test_equal_questions_go_once_at_a_time_unless_the_answer_is_final() -> None:
    database = Database()
    questions = Questions(database.ask_all, final=lambda _: False)
    tasks = await asking(questions, "same", "same", "same")
    database.released.set()
    assert await asyncio.gather(*tasks) == [1, 2, 3]


async def test_one_question_at_fault_fails_alone() -> None:
    database = Database()
    database.errors["bad"] = ValueError("bad")
    questions = Questions(database.ask_all, final=lambda _: True)
    _, *tasks = await asking(questions, "first", "a", "bad", "b")
    database.released.set()
    a, bad, b = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(bad, ValueError)
    assert isinstance(a, int)
    assert isinstance(b, int)


@pytest.mark.parametrize("error", [LogUnavailableError(), asyncio.CancelledError()])
async def test_whatever_a_statement_raises_later_questions_are_answered(error: BaseException) -> None:
    database = Database()
    database.errors["first"] = error
    questions = Questions(database.ask_all, final=lambda _: True)
    first, later = await asking(questions, "first", "later")
    database.released.set()
    (failed,) = await asyncio.gather(first, return_exceptions=True)
    assert isinstance(failed, LogUnavailableError)
    async with asyncio.timeout(5):
        assert await later == 2


@pytest.mark.parametrize("at_that_very_moment", [False, True])
async def test_an_answer_that_no_task_waits_for_any_more_is_taken_back(at_that_very_moment: bool) -> None:
    database, taken_back = Database(), list[int]()

    async def take_back(answers: Sequence[int]) -> None:
        taken_back.extend(answers)

    def final(_: int) -> bool:
        """Called when the answer is given, and its task has not run yet."""
        task.cancel()
        return False

    questions: Questions[str, int] = Questions(database.ask_all, final=final, take_back=take_back)
    (task,) = await asking(questions, "a")
    if not at_that_very_moment:
        task.cancel()
        await asyncio.wait([task])
    database.released.set()
    async with asyncio.timeout(10):
        while not taken_back:
            await asyncio.sleep(0)
    assert taken_back == [1]
    assert (await asyncio.gather(*await asking(questions, "b")), taken_back) == ([2], [1])
    assert task.cancelled()
