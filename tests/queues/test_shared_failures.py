"""Those who wait for a question that is asked for many are told of every failure, also of a bug."""

import asyncio
from collections.abc import Collection, Iterator, Sequence

import pytest

from relaypost_server.core.queue import Lane
from relaypost_server.core.queue_ports import QueueUnavailableError
from relaypost_server.queues._pg_lookout import Lookout
from relaypost_server.queues._sqs_gathered import Gathered


async def test_a_bug_in_a_look_reaches_those_who_wait_and_ends_no_later_look() -> None:
    answers: Iterator[Exception | list[str]] = iter([IndexError("a bug"), ["otp"]])

    async def look(_: Collection[str]) -> Collection[str]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    lookout = Lookout(look)
    with pytest.raises(IndexError):
        await lookout.wait(Lane.OTP, 30.0)
    assert await lookout.wait(Lane.OTP, 30.0)


async def test_a_call_that_is_cancelled_from_within_reaches_those_who_wait() -> None:
    called: list[Sequence[int]] = []

    async def call(items: Sequence[int]) -> None:
        called.append(items)
        if len(called) == 1:
            raise asyncio.CancelledError

    gathered: Gathered[int] = Gathered(call, most=2)
    async with asyncio.timeout(30):
        with pytest.raises(QueueUnavailableError):
            await gathered.add([1, 2, 3, 4])
        await gathered.add([5])
    assert [5] in [list(items) for items in called]
