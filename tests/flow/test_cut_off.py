"""Attempts that a shutdown cuts off: nobody else is asked, and the provider is not blamed."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import Attempt, Delivery, Ending, SkipReason
from relaypost_server.core.message import Guarantee
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.flow.dispatch import Caller
from tests import messages
from tests.fakes.providers import FakeProvider, Rig, failing, hang

CUT_OFF = [("a", Kind.UNCONFIRMED, None), ("b", Kind.SKIPPED, SkipReason.SHUTTING_DOWN)]


class Journal:
    """Waits before it lets an attempt begin."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.granted = asyncio.Event()

    async def starting(self, provider: str, attempts: Sequence[Attempt]) -> None:
        self.asked.set()
        await self.granted.wait()


def walk(rig: Rig, caller: Caller, journal: Any = None) -> "asyncio.Task[Delivery]":
    return asyncio.create_task(
        rig.dispatcher.deliver(messages.email(Guarantee.AT_LEAST_ONCE), caller=caller, journal=journal)
    )


async def asked(provider: FakeProvider) -> None:
    async with asyncio.timeout(10):
        while not provider.received:
            await asyncio.sleep(0)


def told(delivery: Delivery) -> list[tuple[str, Kind, SkipReason | None]]:
    return [(a.provider, a.kind, a.skipped) for a in delivery.attempts]


@pytest.mark.parametrize("by", ["the caller", "the task"])
async def test_a_cut_off_attempt_goes_to_no_other_provider(by: str) -> None:
    rig = Rig([FakeProvider("a", [hang]), FakeProvider("b")])
    caller = rig.caller(14.8)
    walking = walk(rig, caller)
    await asked(rig.providers[0])
    if by == "the caller":
        caller.cut_off()
    else:
        walking.cancel()
    delivery = await walking
    assert told(delivery) == CUT_OFF
    assert (delivery.verdict.ending, delivery.verdict.cut_short) == (Ending.UNCONFIRMED, True)
    assert rig.providers[1].received == []


async def test_the_task_is_of_use_afterwards() -> None:
    """What records the message waits under limits of its own, which a cancellation left behind would break."""
    rig = Rig([FakeProvider("a", [hang])])
    caller = rig.caller(14.8)

    async def send_and_record() -> int:
        await rig.dispatcher.deliver(messages.email(), caller=caller)
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(0)
        return task.cancelling()

    working = asyncio.create_task(send_and_record())
    await asked(rig.providers[0])
    caller.cut_off()
    assert await working == 0


async def test_an_attempt_that_runs_may_end_while_none_is_begun() -> None:
    release = asyncio.Event()

    async def wait(_: Any, __: float) -> Outcome:
        await release.wait()
        return failing(Kind.FAULTED)

    rig = Rig([FakeProvider("a", [wait]), FakeProvider("b")])
    caller = rig.caller(14.8)
    walking = walk(rig, caller)
    await asked(rig.providers[0])
    caller.stopping = True
    release.set()
    delivery = await walking
    assert told(delivery) == [("a", Kind.FAULTED, None), CUT_OFF[1]]
    assert delivery.verdict.retry_after is not None


async def test_an_attempt_that_was_only_put_on_record_is_not_made() -> None:
    rig, journal = Rig([FakeProvider("a"), FakeProvider("b")]), Journal()
    caller = rig.caller(14.8)
    walking = walk(rig, caller, journal)
    await journal.asked.wait()
    caller.cut_off()
    journal.granted.set()
    assert told(await walking) == [("a", Kind.SKIPPED, SkipReason.SHUTTING_DOWN)]
    assert [len(p.received) for p in rig.providers] == [0, 0]


async def test_hanging_up_says_nothing_about_the_provider() -> None:
    """Its circuit stays as it is, so that no other gateway is told that it failed."""
    rig = Rig([FakeProvider("a", [hang])])
    for _ in range(10):
        caller = rig.caller(14.8)
        before = len(rig.providers[0].received)
        walking = walk(rig, caller)
        async with asyncio.timeout(10):
            while len(rig.providers[0].received) == before:
                await asyncio.sleep(0)
        caller.cut_off()
        await walking
    assert rig.chain["a"].state(rig.chain["a"].now()) is CircuitState.CLOSED


async def test_a_walk_after_the_grace_calls_no_provider() -> None:
    rig = Rig([FakeProvider("a")])
    rig.sender.cut_off()
    sent = await rig.sender.send(
        messages.email().content, guarantee=Guarantee.AT_LEAST_ONCE, metadata={}, time_left=None
    )
    assert (sent.verdict.ending, sent.verdict.retry_after) == (Ending.EXHAUSTED, 1.0)
    assert rig.providers[0].received == []


async def test_a_cancellation_from_within_a_providers_library_goes_on_to_the_next_provider() -> None:
    """It is a bug like any other: nobody cancelled the attempt."""

    async def cancelled(message: Any, timeout: float) -> Outcome:
        raise asyncio.CancelledError

    rig = Rig([FakeProvider("a", [cancelled]), FakeProvider("b")])
    delivery = await walk(rig, rig.caller(14.8))
    assert told(delivery) == [("a", Kind.UNCONFIRMED, None), ("b", Kind.ACCEPTED, None)]
    assert delivery.verdict.possible_duplicate
