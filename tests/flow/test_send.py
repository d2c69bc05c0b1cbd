"""Sending one message: its record, its caller, its end."""

import asyncio

import pytest

from relaypost_server.core.failover import Ending
from relaypost_server.core.message import Email, Guarantee, MessageState
from relaypost_server.core.outcome import Kind
from relaypost_server.flow.dispatch import Limits
from relaypost_server.flow.send import Sent
from tests import messages
from tests.fakes.providers import ACCEPTED, FakeProvider, Rig, failing, hang

EMAIL: Email = messages.email().content


async def send(rig: Rig, time_left: float | None = None) -> Sent:
    return await rig.sender.send(EMAIL, guarantee=Guarantee.AT_LEAST_ONCE, metadata={"order": "7"}, time_left=time_left)


async def test_what_was_sent_is_on_record() -> None:
    rig = Rig([FakeProvider("a", [failing(Kind.UNCONFIRMED)]), FakeProvider("b")])
    sent = await send(rig)
    assert rig.log.records == [sent.record]
    record = sent.record
    assert record.state is MessageState.SENT
    assert (record.provider, record.provider_message_id, record.possible_duplicate) == ("b", "id-1", True)
    assert record.recipients == ("ada@example.com",)
    assert record.metadata == {"order": "7"}
    assert [a.kind for a in record.attempts] == [Kind.UNCONFIRMED, Kind.ACCEPTED]


async def test_what_was_not_sent_is_on_record_as_well() -> None:
    rig = Rig([FakeProvider("a", [failing(Kind.FAULTED)])])
    sent = await send(rig)
    assert sent.verdict.ending is Ending.EXHAUSTED
    assert rig.log.records[0].state is MessageState.FAILED


async def test_the_record_holds_nothing_of_the_content() -> None:
    rig = Rig([FakeProvider("a")])
    await send(rig)
    assert "482915" not in repr(rig.log.records)
    assert "Your code" not in repr(rig.log.records)


async def test_a_log_that_is_away_fails_no_send() -> None:
    rig = Rig([FakeProvider("a")])
    rig.log.available = False
    assert (await send(rig)).verdict.ending is Ending.SENT


@pytest.mark.parametrize(
    ("time_left", "budget"), [(None, 14.8), (10.0, 9.8), (300.0, 29.8), (0.05, -0.15), (0.0, -0.2)]
)
def test_the_budget_keeps_a_reserve_and_a_cap(time_left: float | None, budget: float) -> None:
    assert Limits().budget(time_left) == pytest.approx(budget)


@pytest.mark.parametrize("time_left", [0.0, 0.05, 1.19])
async def test_a_deadline_too_short_for_an_attempt_sends_nothing(time_left: float) -> None:
    rig = Rig([FakeProvider("a")])
    assert (await send(rig, time_left)).verdict.ending is Ending.DEADLINE
    assert rig.providers[0].received == []


async def test_a_caller_who_goes_away_stops_neither_the_attempt_nor_its_record() -> None:
    release = asyncio.Event()

    async def wait(message: object, timeout: float) -> object:
        await release.wait()
        return failing(Kind.FAULTED)

    rig = Rig([FakeProvider("a", [wait]), FakeProvider("b")])  # type: ignore[list-item]
    call = asyncio.create_task(send(rig))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    release.set()
    await rig.sender.drain()
    (record,) = rig.log.records
    assert [a.kind for a in record.attempts] == [Kind.FAULTED]
    assert rig.providers[1].received == []


async def test_what_a_shutdown_cuts_off_is_on_record_as_unconfirmed() -> None:
    rig = Rig([FakeProvider("a", [hang]), FakeProvider("b")])
    call = asyncio.create_task(send(rig))
    await asyncio.sleep(0.01)
    rig.sender.cut_off()
    await rig.sender.drain()
    assert (await call).verdict.ending is Ending.UNCONFIRMED
    assert rig.log.records[0].state is MessageState.UNCONFIRMED
    assert rig.providers[1].received == []


async def test_ids_sort_by_the_time_of_their_messages() -> None:
    rig = Rig([FakeProvider("a", [ACCEPTED])])
    ids = []
    for _ in range(5):
        ids.append((await send(rig)).record.id)
        await asyncio.sleep(0.002)
    assert ids == sorted(ids)
    assert len(set(ids)) == 5
