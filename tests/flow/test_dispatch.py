"""Walking a chain: who is asked, how often, and for how long."""

import asyncio
from dataclasses import replace

import pytest

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import Delivery, Ending
from relaypost_server.core.message import Address, Email, Guarantee, Message
from relaypost_server.core.outcome import Kind, RefusedRecipient
from relaypost_server.core.retry_budget import RetryBudget
from relaypost_server.flow.dispatch import Limits
from tests import messages
from tests.fakes.providers import ACCEPTED, FakeClock, FakeProvider, Rig, failing, hang

ALO, AMO = Guarantee.AT_LEAST_ONCE, Guarantee.AT_MOST_ONCE


async def deliver(rig: Rig, message: Message[Email] | None = None, budget: float = 14.8) -> Delivery:
    return await rig.dispatcher.deliver(message or messages.email(), caller=rig.caller(budget))


def state_of(rig: Rig, provider: str) -> CircuitState:
    link = rig.chain[provider]
    return link.state(link.now())


def kinds(delivery: Delivery) -> list[tuple[str, Kind]]:
    return [(a.provider, a.kind) for a in delivery.attempts]


async def test_the_first_provider_carries_the_message() -> None:
    rig = Rig([FakeProvider("a"), FakeProvider("b")])
    delivery = await deliver(rig)
    assert kinds(delivery) == [("a", Kind.ACCEPTED)]
    assert rig.providers[1].received == []


async def test_the_next_provider_carries_what_the_first_could_not() -> None:
    rig = Rig([FakeProvider("a", [failing(Kind.FAULTED)]), FakeProvider("b")])
    delivery = await deliver(rig)
    assert kinds(delivery) == [("a", Kind.FAULTED), ("b", Kind.ACCEPTED)]
    assert delivery.verdict.ending is Ending.SENT


@pytest.mark.parametrize(
    ("guarantee", "asked", "ending", "duplicate"),
    [(ALO, [1, 1], Ending.SENT, True), (AMO, [1, 0], Ending.UNCONFIRMED, False)],
)
async def test_a_lost_answer_follows_the_guarantee(
    guarantee: Guarantee, asked: list[int], ending: Ending, duplicate: bool
) -> None:
    rig = Rig([FakeProvider("a", [failing(Kind.UNCONFIRMED)]), FakeProvider("b")])
    delivery = await deliver(rig, messages.email(guarantee))
    assert [len(p.received) for p in rig.providers] == asked
    assert (delivery.verdict.ending, delivery.verdict.possible_duplicate) == (ending, duplicate)


async def test_a_rejected_message_benches_nobody() -> None:
    rig = Rig([FakeProvider("a", [failing(Kind.REJECTED)]), FakeProvider("b")])
    for _ in range(50):
        assert (await deliver(rig)).verdict.ending is Ending.REJECTED
    assert state_of(rig, "a") is CircuitState.CLOSED
    assert rig.providers[1].received == []


async def test_five_faults_open_the_circuit_and_the_sixth_message_makes_no_call() -> None:
    rig = Rig([FakeProvider("a", [failing(Kind.FAULTED)]), FakeProvider("b")])
    for _ in range(5):
        await deliver(rig)
    sixth = await deliver(rig)
    assert kinds(sixth) == [("a", Kind.SKIPPED), ("b", Kind.ACCEPTED)]
    assert sixth.attempts[0].circuit is CircuitState.OPEN
    assert len(rig.providers[0].received) == 5


async def test_an_account_fault_opens_at_once() -> None:
    rig = Rig([FakeProvider("a", [failing(Kind.UNAUTHORIZED)]), FakeProvider("b")])
    await deliver(rig)
    assert state_of(rig, "a") is CircuitState.OPEN
    assert b'relaypost_circuit_transitions_total{channel="email",provider="a",reason="account",state="open"}' in (
        rig.metrics.render()
    )


async def test_a_throttled_provider_is_skipped_for_as_long_as_it_asked() -> None:
    clock = FakeClock()
    rig = Rig([FakeProvider("a", [failing(Kind.THROTTLED, retry_after=7.0), ACCEPTED]), FakeProvider("b")], clock=clock)
    await deliver(rig)
    clock.turn(6.9)
    skipped = (await deliver(rig)).attempts[0]
    assert skipped.kind is Kind.SKIPPED
    assert skipped.outcome.retry_after == pytest.approx(0.1)
    assert state_of(rig, "a") is CircuitState.CLOSED
    clock.turn(0.1)
    assert kinds(await deliver(rig)) == [("a", Kind.ACCEPTED)]


async def test_all_circuits_open_calls_nobody_and_names_the_earliest_reopening() -> None:
    clock = FakeClock()
    rig = Rig([FakeProvider(n, [failing(Kind.UNAUTHORIZED)]) for n in ("a", "b")], clock=clock)
    await deliver(rig)
    clock.turn(20.0)
    before = [len(p.received) for p in rig.providers]
    for _ in range(1000):
        delivery = await deliver(rig)
        assert delivery.verdict.ending is Ending.EXHAUSTED
        assert delivery.verdict.retry_after == pytest.approx(40.0)
    assert [len(p.received) for p in rig.providers] == before


async def test_the_probe_of_one_message_lets_all_others_move_on() -> None:
    clock = FakeClock()
    release = asyncio.Event()

    async def wait(message: object, timeout: float) -> object:
        await release.wait()
        return ACCEPTED

    first = FakeProvider("a", [failing(Kind.UNAUTHORIZED), wait])  # type: ignore[list-item]
    rig = Rig([first, FakeProvider("b")], clock=clock)
    await deliver(rig)
    clock.turn(61.0)
    probe = asyncio.create_task(deliver(rig))
    await asyncio.sleep(0)
    others = await asyncio.gather(*(deliver(rig) for _ in range(20)))
    assert all(kinds(d) == [("a", Kind.SKIPPED), ("b", Kind.ACCEPTED)] for d in others)
    release.set()
    assert kinds(await probe) == [("a", Kind.ACCEPTED)]


async def test_without_time_nobody_is_asked() -> None:
    rig = Rig([FakeProvider("a"), FakeProvider("b")])
    delivery = await deliver(rig, budget=0.9)
    assert delivery.verdict.ending is Ending.DEADLINE
    assert kinds(delivery) == [("a", Kind.SKIPPED), ("b", Kind.SKIPPED)]
    assert rig.providers[0].received == []


async def test_a_provider_that_hangs_leaves_time_for_the_others() -> None:
    limits = Limits(shortest_attempt=0.05)
    rig = Rig([FakeProvider("a", [hang]), FakeProvider("b", [hang]), FakeProvider("c")], limits=limits)
    delivery = await deliver(rig, budget=0.6)
    assert kinds(delivery)[-1] == ("c", Kind.ACCEPTED)
    assert rig.providers[0].timeouts == [pytest.approx(0.2, abs=0.05)]
    assert delivery.verdict.possible_duplicate


async def test_an_exception_in_a_provider_is_a_lost_answer_and_counts_against_it() -> None:
    rig = Rig([FakeProvider("a", [RuntimeError("secret")]), FakeProvider("b")])
    delivery = await deliver(rig)
    assert kinds(delivery) == [("a", Kind.UNCONFIRMED), ("b", Kind.ACCEPTED)]
    assert "secret" not in repr(delivery)
    for _ in range(4):
        await deliver(rig)
    assert state_of(rig, "a") is CircuitState.OPEN


async def test_a_lone_provider_out_of_reach_is_asked_once_more() -> None:
    provider = FakeProvider("a", [failing(Kind.UNREACHABLE), ACCEPTED])
    rig = Rig([provider], retries=RetryBudget(0.1))
    assert kinds(await deliver(rig)) == [("a", Kind.UNREACHABLE), ("a", Kind.ACCEPTED)]


async def test_second_tries_are_a_tenth_of_all_messages() -> None:
    provider = FakeProvider("a", [failing(Kind.UNREACHABLE)])
    policy = replace(Rig([]).policy, failures_to_open=10_000, rate_to_open=2.0)
    rig = Rig([provider], retries=RetryBudget(0.1), policy=policy)
    for _ in range(200):
        await deliver(rig)
    assert 220 <= len(provider.received) <= 222


async def test_recipients_refused_for_now_go_to_the_next_provider_alone() -> None:
    refused = (
        RefusedRecipient(address="later@example.com", provider_code="450", temporary=True),
        RefusedRecipient(address="never@example.com", provider_code="550", temporary=False),
    )
    rig = Rig([FakeProvider("a", [replace(ACCEPTED, refused=refused)]), FakeProvider("b")])
    to = tuple(Address(email=f"{n}@example.com") for n in ("now", "later", "never"))
    delivery = await deliver(rig, messages.email(to=to))
    assert kinds(delivery) == [("a", Kind.ACCEPTED), ("b", Kind.ACCEPTED)]
    assert rig.providers[1].received[0].content.recipients == ("later@example.com",)
    assert not delivery.verdict.possible_duplicate
