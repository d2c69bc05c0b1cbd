"""Sending with a request_id: claims, the record before each attempt, and what is asked again."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import Attempt, Ending, SkipReason
from relaypost_server.core.idempotency import Begun, InProgress, Replay, RequestKey, Reused
from relaypost_server.core.message import Email, Guarantee, MessageState
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.record import MessageRecord
from relaypost_server.flow.requests import RequestInProgressError, RequestReusedError
from relaypost_server.flow.send import Sent
from tests import messages
from tests.fakes.providers import ACCEPTED, FakeClock, FakeProvider, Rig, failing, hang
from tests.store.records import START, record

EMAIL: Email = messages.email().content
KEY = RequestKey(caller="signup", method="SendEmail", request_id="r-1")
ALO, AMO = Guarantee.AT_LEAST_ONCE, Guarantee.AT_MOST_ONCE


async def send(rig: Rig, guarantee: Guarantee = ALO, content: Email = EMAIL, key: RequestKey = KEY) -> Sent:
    return await rig.sender.send(content, guarantee=guarantee, metadata={}, time_left=None, key=key)


def kinds(made: MessageRecord) -> list[tuple[str, Kind]]:
    return [(a.provider, a.kind) for a in made.attempts]


def lost(provider: str) -> Attempt:
    return Attempt(
        provider=provider,
        outcome=Outcome(kind=Kind.UNCONFIRMED),
        circuit=CircuitState.CLOSED,
        start_time=START,
    )


async def test_a_claim_names_the_first_attempt_which_needs_no_record_of_its_own() -> None:
    rig = Rig([FakeProvider("a")])
    sent = await send(rig)
    (claim,) = rig.requests.claims
    assert (claim.key, claim.first_provider, claim.record.state) == (KEY, "a", MessageState.SENDING)
    assert rig.requests.started == []
    assert rig.requests.finished == [(sent.record, 1, True)]
    assert rig.log.records == []  # The end of the claim is its record.


async def test_each_further_attempt_is_on_record_before_it_is_made() -> None:
    rig = Rig([FakeProvider("a", [failing(Kind.FAULTED)]), FakeProvider("b")])

    async def look(message: Any, timeout: float) -> Outcome:
        assert [(provider, fence) for _, provider, fence in rig.requests.started] == [("b", 1)]
        return ACCEPTED

    rig.providers[1].answers = [look]
    sent = await send(rig)
    assert kinds(sent.record) == [("a", Kind.FAULTED), ("b", Kind.ACCEPTED)]
    ((before, _, _),) = rig.requests.started
    assert [a.kind for a in before] == [Kind.FAULTED]


async def test_an_answer_is_given_again_and_nothing_is_sent() -> None:
    rig = Rig([FakeProvider("a")])
    answered = record(state=MessageState.SENT)
    rig.requests.answers = [Replay(record=answered)]
    sent = await send(rig)
    assert (sent.record, sent.replayed, sent.verdict.ending) == (answered, True, Ending.SENT)
    assert rig.providers[0].received == []


@pytest.mark.parametrize(("answer", "error"), [(InProgress(), RequestInProgressError), (Reused(), RequestReusedError)])
async def test_what_may_not_be_sent_is_refused(answer: Any, error: type[Exception]) -> None:
    rig = Rig([FakeProvider("a")])
    rig.requests.answers = [answer]
    with pytest.raises(error):
        await send(rig)
    assert rig.providers[0].received == []


async def test_within_one_process_a_name_that_runs_is_not_asked_for_twice() -> None:
    rig = Rig([FakeProvider("a", [hang])])
    first = asyncio.create_task(send(rig))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(RequestInProgressError):
        await send(rig)
    with pytest.raises(RequestReusedError):
        await send(rig, content=replace(EMAIL, subject="Other"))
    assert len(rig.requests.claims) == 1
    other = replace(KEY, caller="billing")
    rig.providers[0].answers = [ACCEPTED]
    assert (await send(rig, key=other)).verdict.ending is Ending.SENT
    rig.sender.cut_off()
    await rig.sender.drain()
    await first


async def test_however_many_repeat_an_answered_request_at_once_one_looks() -> None:
    rig = Rig([FakeProvider("a")])
    looked = asyncio.Event()
    answered = record(state=MessageState.SENT)

    async def look(claim: Any) -> Replay:
        rig.requests.claims.append(claim)
        await looked.wait()
        return Replay(record=answered)

    rig.requests.begin = look  # type: ignore[method-assign]
    calls = [asyncio.create_task(send(rig)) for _ in range(100)]
    await asyncio.sleep(0.01)
    looked.set()
    assert [sent.record for sent in await asyncio.gather(*calls)] == [answered] * 100
    assert len(rig.requests.claims) == 1


async def test_whoever_waits_for_another_call_to_which_the_log_said_nothing_asks_again() -> None:
    rig = Rig([FakeProvider("a")])
    looked = asyncio.Event()

    async def look(claim: Any) -> Replay:
        await looked.wait()
        raise LogUnavailableError

    rig.requests.begin = look  # type: ignore[method-assign]
    calls = [asyncio.create_task(send(rig)) for _ in range(3)]
    await asyncio.sleep(0.01)
    looked.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [LogUnavailableError, *[RequestInProgressError] * 2]


async def test_a_new_walk_follows_the_old_one_in_the_same_message() -> None:
    rig = Rig([FakeProvider("a")])
    failed = record(state=MessageState.FAILED, attempts=(replace(lost("a"), outcome=failing(Kind.FAULTED)),))
    rig.requests.answers = [Begun(fence=2, record=failed)]
    sent = await send(rig)
    assert (sent.record.id, sent.record.create_time) == (failed.id, failed.create_time)
    assert kinds(sent.record) == [("a", Kind.FAULTED), ("a", Kind.ACCEPTED)]
    assert rig.requests.started[0][1:] == ("a", 2)
    assert rig.providers[0].received[0].id == failed.id


async def test_a_provider_that_may_have_sent_is_never_asked_again() -> None:
    rig = Rig([FakeProvider("a"), FakeProvider("b")])
    rig.requests.answers = [Begun(fence=2, record=record(attempts=(lost("a"),)))]
    sent = await send(rig)
    assert kinds(sent.record) == [("a", Kind.UNCONFIRMED), ("b", Kind.ACCEPTED)]
    assert sent.record.possible_duplicate
    assert rig.providers[0].received == []


async def test_without_the_database_nothing_is_sent() -> None:
    rig = Rig([FakeProvider("a")])
    rig.requests.answers = [LogUnavailableError()]
    with pytest.raises(LogUnavailableError):
        await send(rig)
    assert rig.providers[0].received == []


async def test_a_setting_lets_requests_through_without_the_database() -> None:
    rig = Rig([FakeProvider("a")], without_log=True)
    rig.requests.answers = [LogUnavailableError()]
    sent = await send(rig)
    assert sent.verdict.ending is Ending.SENT
    assert rig.requests.unproven == [(sent.record, True)]


async def test_an_attempt_that_cannot_be_put_on_record_is_not_made() -> None:
    rig = Rig([FakeProvider("a", [failing(Kind.FAULTED)]), FakeProvider("b"), FakeProvider("c")])
    rig.requests.held = LogUnavailableError()
    sent = await send(rig)
    assert sent.verdict.ending is Ending.NOT_ON_RECORD
    assert sent.record.attempts[1].skipped is SkipReason.NOT_ON_RECORD
    assert rig.providers[1].received == rig.providers[2].received == []
    assert rig.requests.finished[0][2] is False
    assert rig.chain["b"].refusal(rig.caller(0).began) is None  # The permit was given back.


async def test_a_setting_lets_attempts_through_without_the_database() -> None:
    rig = Rig([FakeProvider("a", [failing(Kind.FAULTED)]), FakeProvider("b")], without_log=True)
    rig.requests.held = LogUnavailableError()
    assert (await send(rig)).verdict.ending is Ending.SENT


async def test_a_claim_that_was_lost_ends_the_walk_and_says_nothing_of_the_message() -> None:
    rig = Rig([FakeProvider("a", [failing(Kind.FAULTED)]), FakeProvider("b")])
    rig.requests.held = False
    with pytest.raises(RequestInProgressError):
        await send(rig)
    assert rig.providers[1].received == []
    assert rig.requests.finished == []


async def test_a_process_that_was_stopped_past_its_lease_does_not_send() -> None:
    clock = FakeClock()
    rig = Rig([FakeProvider("a")], clock=clock)

    async def frozen_while_writing(*_: Any, **__: Any) -> bool:
        clock.turn(100.0)
        return True

    rig.requests.starting = frozen_while_writing  # type: ignore[method-assign]
    rig.requests.answers = [Begun(fence=2, record=record(attempts=()))]
    with pytest.raises(RequestInProgressError):
        await send(rig)
    assert rig.providers[0].received == []


async def test_a_caller_who_goes_away_leaves_the_rest_to_a_repeated_request() -> None:
    release = asyncio.Event()

    async def wait(message: Any, timeout: float) -> Outcome:
        await release.wait()
        return failing(Kind.UNCONFIRMED)

    rig = Rig([FakeProvider("a", [wait]), FakeProvider("b")])
    call = asyncio.create_task(send(rig))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    release.set()
    await rig.sender.drain()
    ((made, _, kept),) = rig.requests.finished
    assert (made.state, kept) == (MessageState.UNCONFIRMED, False)
    assert rig.providers[1].received == []


async def test_what_a_shutdown_cuts_off_is_on_record_and_may_go_on_elsewhere() -> None:
    rig = Rig([FakeProvider("a", [hang]), FakeProvider("b")])
    call = asyncio.create_task(send(rig))
    await asyncio.sleep(0.01)
    rig.sender.cut_off()
    await rig.sender.drain()
    assert (await call).verdict.ending is Ending.UNCONFIRMED
    ((made, fence, kept),) = rig.requests.finished
    assert (made.state, fence, kept) == (MessageState.UNCONFIRMED, 1, False)


async def test_all_circuits_open_sends_nothing_and_keeps_nothing() -> None:
    rig = Rig([FakeProvider("a", [failing(Kind.UNAUTHORIZED)])])
    await send(rig, key=replace(KEY, request_id="first"))
    sent = await send(rig)
    assert sent.verdict.ending is Ending.EXHAUSTED
    assert rig.requests.claims[1].first_provider == ""
    assert rig.requests.finished[1][2] is False
