"""Claimed requests on a real PostgreSQL, as several gateways see them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import Attempt
from relaypost_server.core.idempotency import Begun, Claim, InProgress, Replay, RequestKey, Reused, Started
from relaypost_server.core.message import Guarantee, MessageState
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.record import MessageRecord
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.requests import Recovery
from relaypost_server.store import writer
from relaypost_server.store.messages import PostgresLog
from relaypost_server.store.requests import PostgresRequests
from tests.databases import over_tcp, socket_of
from tests.fakes.proxy import proxy
from tests.store.databases import opened
from tests.store.records import START, record

ALO, AMO = Guarantee.AT_LEAST_ONCE, Guarantee.AT_MOST_ONCE


@dataclass
class Replica:
    """One gateway's view of the database."""

    requests: PostgresRequests
    log: PostgresLog

    async def recover(self) -> int:
        return await Recovery(self.requests, retention=3600.0, clock=Clock()).sweep()


SHORT, LONGER, LONG = 0.5, 2.5, 3600.0
"""Leases, in seconds."""


@pytest.fixture(params=[LONG])
async def replicas(
    request: pytest.FixtureRequest, bundled_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[Replica]]:
    """Three of them."""
    monkeypatch.setattr(writer, "ANSWER_SECONDS", 30.0)
    monkeypatch.setattr(writer, "WORD_SECONDS", 30.0)
    async with AsyncExitStack() as stack:
        made = []
        for number in range(3):
            database = await stack.enter_async_context(opened(bundled_database, tmp_path / str(number)))
            made.append(Replica(PostgresRequests(database, lease=request.param), PostgresLog(database)))
        yield made


def claim(name: str = "r-1", **changes: Any) -> Claim:
    guarantee = changes.pop("guarantee", ALO)
    fields: dict[str, Any] = {
        "key": RequestKey(caller="signup", method="SendEmail", request_id=name),
        "fingerprint": "f",
        "record": record(
            state=MessageState.SENDING,
            attempts=(),
            guarantee=guarantee,
            provider="",
            provider_message_id="",
            possible_duplicate=False,
            cost=None,
        ),
        "first_provider": "ses",
    }
    return Claim(**fields | changes)


def attempt(provider: str, kind: Kind) -> Attempt:
    return Attempt(
        provider=provider, outcome=Outcome(kind=kind), circuit=CircuitState.CLOSED, start_time=START, duration=0.1
    )


def ended(made: Claim, state: MessageState, *attempts: Attempt) -> MessageRecord:
    return replace(made.record, state=state, attempts=attempts)


leases_end = pytest.mark.parametrize("replicas", [SHORT], indirect=True)


async def lease_ends() -> None:
    await asyncio.sleep(SHORT + 0.1)


async def test_one_of_many_claims_is_granted(replicas: list[Replica]) -> None:
    claims = [claim() for _ in range(300)]
    answers = await asyncio.gather(*(replicas[number % 3].requests.begin(made) for number, made in enumerate(claims)))
    granted = [a for a in answers if isinstance(a, Begun)]
    assert len(granted) == 1
    assert all(isinstance(a, Begun | InProgress) for a in answers)
    found = await replicas[0].log.get(granted[0].record.id)
    assert found is not None
    assert found.state is MessageState.SENDING


async def test_claims_of_many_gateways_do_not_lock_one_another_out(replicas: list[Replica]) -> None:
    """The same names in opposite orders, which deadlocks where rows are locked as they come."""
    names = [f"r-{n}" for n in range(200)]
    orders = [names, names[::-1], names[100:] + names[:100]]
    answers = await asyncio.gather(
        *(r.requests.begin(claim(n)) for r, order in zip(replicas, orders, strict=True) for n in order)
    )
    assert sum(isinstance(a, Begun) for a in answers) == 200


async def test_the_end_is_replayed_by_every_gateway(replicas: list[Replica]) -> None:
    made = claim()
    begun = await replicas[0].requests.begin(made)
    assert begun == Begun(fence=1, record=made.record)
    sent = replace(ended(made, MessageState.SENT, attempt("ses", Kind.ACCEPTED)), provider="ses")
    assert await replicas[0].requests.finish(sent, fence=1, kept=True)
    for replica in replicas:
        assert await replica.requests.begin(claim()) == Replay(record=sent)
        assert await replica.requests.begin(claim(fingerprint="other")) == Reused()


async def test_callers_and_methods_have_names_of_their_own(replicas: list[Replica]) -> None:
    keys = [
        RequestKey(caller=caller, method=method, request_id="r-1")
        for caller in ("signup", "billing")
        for method in ("SendEmail", "SendSms")
    ]
    answers = [await replicas[0].requests.begin(claim(key=key)) for key in keys]
    assert all(isinstance(a, Begun) for a in answers)


async def test_what_was_not_sent_is_claimed_again_with_its_history(replicas: list[Replica]) -> None:
    made = claim()
    await replicas[0].requests.begin(made)
    failed = ended(made, MessageState.FAILED, attempt("ses", Kind.FAULTED))
    await replicas[0].requests.finish(failed, fence=1, kept=False)
    begun = await replicas[1].requests.begin(claim())
    assert isinstance(begun, Begun)
    assert (begun.fence, begun.record.id) == (2, made.record.id)
    assert begun.record.attempts == failed.attempts
    sent = replace(begun.record, state=MessageState.SENT, attempts=(*failed.attempts, attempt("smtp", Kind.ACCEPTED)))
    await replicas[1].requests.finish(sent, fence=2, kept=True)
    assert await replicas[2].log.get(made.record.id) == sent


@leases_end
async def test_whoever_lost_the_lease_changes_nothing(replicas: list[Replica]) -> None:
    made = claim()
    await replicas[0].requests.begin(made)
    await lease_ends()
    begun = await replicas[1].requests.begin(claim())
    assert isinstance(begun, Begun)
    assert begun.fence == 2
    assert not await replicas[0].requests.starting(made.record, Started(provider="smtp", time=START), fence=1)
    await replicas[0].requests.finish(ended(made, MessageState.FAILED), fence=1, kept=False)
    found = await replicas[2].log.get(made.record.id)
    assert found is not None
    assert found.state is MessageState.SENDING


@leases_end
async def test_an_expired_lease_lets_no_attempt_start(replicas: list[Replica]) -> None:
    made = claim()
    await replicas[0].requests.begin(made)
    await lease_ends()
    assert not await replicas[0].requests.starting(made.record, Started(provider="smtp", time=START), fence=1)


@pytest.mark.parametrize("replicas", [LONGER], indirect=True)
async def test_a_started_attempt_renews_the_lease(replicas: list[Replica]) -> None:
    made = claim()
    await replicas[0].requests.begin(made)
    for number in range(2):
        await asyncio.sleep(LONGER * 0.55)
        tried = replace(made.record, attempts=tuple(attempt(f"p{n}", Kind.FAULTED) for n in range(number)))
        assert await replicas[0].requests.starting(tried, Started(provider=f"p{number}", time=START), fence=1)
    assert await replicas[1].requests.begin(claim()) == InProgress()


@leases_end
@pytest.mark.parametrize(("guarantee", "again"), [(ALO, True), (AMO, False)])
async def test_a_gateway_that_died_in_an_attempt_leaves_the_message_unconfirmed(
    replicas: list[Replica], guarantee: Guarantee, again: bool
) -> None:
    made = claim(guarantee=guarantee)
    await replicas[0].requests.begin(made)
    await lease_ends()
    assert await replicas[1].recover() == 1
    assert await replicas[2].recover() == 0
    found = await replicas[1].log.get(made.record.id)
    assert found is not None
    assert found.state is MessageState.UNCONFIRMED
    assert [(a.provider, a.kind) for a in found.attempts] == [("ses", Kind.UNCONFIRMED)]
    answer = await replicas[2].requests.begin(claim(guarantee=guarantee))
    if again:
        assert isinstance(answer, Begun)
        assert [a.kind for a in answer.record.attempts] == [Kind.UNCONFIRMED]
    else:
        assert answer == Replay(record=found)


@leases_end
async def test_what_is_in_doubt_is_on_record_before_the_request_is_claimed_again(replicas: list[Replica]) -> None:
    """Without a sweep in between: the one who claims settles, and may die as well."""
    made = claim()
    await replicas[0].requests.begin(made)
    await lease_ends()
    assert isinstance(await replicas[1].requests.begin(claim()), Begun)
    await lease_ends()
    third = await replicas[2].requests.begin(claim())
    assert isinstance(third, Begun)
    assert third.fence == 3
    assert [(a.provider, a.kind) for a in third.record.attempts] == [("ses", Kind.UNCONFIRMED)]


@leases_end
async def test_a_gateway_that_died_before_any_attempt_leaves_the_message_failed(replicas: list[Replica]) -> None:
    made = claim(first_provider="")
    await replicas[0].requests.begin(made)
    await lease_ends()
    await replicas[1].recover()
    found = await replicas[1].log.get(made.record.id)
    assert found is not None
    assert (found.state, found.attempts) == (MessageState.FAILED, ())
    assert isinstance(await replicas[2].requests.begin(claim()), Begun)


@leases_end
async def test_the_truth_that_comes_late_outweighs_the_doubt(replicas: list[Replica]) -> None:
    """A gateway was cut off from the database for longer than its lease."""
    made = claim()
    await replicas[0].requests.begin(made)
    await lease_ends()
    await replicas[1].recover()
    sent = ended(made, MessageState.SENT, attempt("ses", Kind.ACCEPTED))
    await replicas[0].requests.finish(sent, fence=1, kept=True)
    assert await replicas[2].log.get(made.record.id) == sent
    assert await replicas[2].requests.begin(claim()) == Replay(record=sent)


@leases_end
async def test_doubt_that_comes_late_changes_nothing(replicas: list[Replica]) -> None:
    made = claim()
    await replicas[0].requests.begin(made)
    await lease_ends()
    (abandoned,) = await replicas[1].requests.abandoned(10)
    sent = ended(made, MessageState.SENT, attempt("ses", Kind.ACCEPTED))
    await replicas[0].requests.finish(sent, fence=1, kept=True)
    doubtful = replace(abandoned.record, state=MessageState.UNCONFIRMED)
    assert not await replicas[1].requests.settle(doubtful, fence=abandoned.fence, kept=False)
    assert await replicas[1].log.get(made.record.id) == sent


@leases_end
async def test_a_request_that_cannot_be_settled_keeps_no_other_from_its_end(
    replicas: list[Replica], bundled_database: str
) -> None:
    """PostgreSQL refuses one of them for good: the others are settled, and old names forgotten."""
    old, bad, *good = (claim(name) for name in ("old", "bad", "good", "better"))
    for each in (old, bad, *good):
        await replicas[0].requests.begin(each)
    await replicas[0].requests.finish(ended(old, MessageState.SENT), fence=1, kept=True)
    connection = await asyncpg.connect(bundled_database)
    await connection.execute(
        "UPDATE relaypost.requests SET remembered_from = now() - interval '2 hours' WHERE request_id = 'old'"
    )
    await connection.execute(
        f"ALTER TABLE relaypost.messages ADD CHECK (id <> '{bad.record.id}' OR state <> 'unconfirmed')"
    )
    await lease_ends()
    for _ in range(2):
        with suppress(Exception):
            await replicas[1].recover()
    left = await connection.fetch("SELECT request_id FROM relaypost.requests WHERE lease_until IS NOT NULL")
    known = await connection.fetch("SELECT request_id FROM relaypost.requests WHERE request_id = 'old'")
    await connection.close()
    assert [row["request_id"] for row in left] == ["bad"]
    assert not known


async def test_names_are_forgotten_after_their_time(replicas: list[Replica], bundled_database: str) -> None:
    made, running = claim("old"), claim("old but running")
    for each in (made, running):
        await replicas[0].requests.begin(each)
    await replicas[0].requests.finish(ended(made, MessageState.SENT), fence=1, kept=True)
    connection = await asyncpg.connect(bundled_database)
    await connection.execute("UPDATE relaypost.requests SET remembered_from = now() - interval '2 hours'")
    await replicas[0].requests.forget(older_than=3600.0)
    left = await connection.fetch("SELECT request_id FROM relaypost.requests")
    await connection.close()
    assert [row["request_id"] for row in left] == ["old but running"]
    assert await replicas[0].log.get(made.record.id) is not None


@pytest.mark.parametrize(("sent", "state"), [(True, MessageState.SENT), (False, MessageState.FAILED)])
async def test_a_person_settles_what_is_unconfirmed(replicas: list[Replica], sent: bool, state: MessageState) -> None:
    made = claim(guarantee=AMO)
    await replicas[0].requests.begin(made)
    doubtful = ended(made, MessageState.UNCONFIRMED, attempt("ses", Kind.UNCONFIRMED))
    await replicas[0].requests.finish(doubtful, fence=1, kept=True)
    resolved = await replicas[1].log.resolve(made.record.id, sent=sent)
    assert resolved is not None
    assert resolved.state is state
    assert await replicas[1].log.resolve(made.record.id, sent=sent) is None
    answer = await replicas[2].requests.begin(claim(guarantee=AMO))
    if sent:
        assert answer == Replay(record=resolved)
    else:
        assert isinstance(answer, Begun)
        assert [a.kind for a in answer.record.attempts] == [Kind.FAULTED]


async def test_a_claim_whose_caller_is_cancelled_is_given_back(
    bundled_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim was on its way already, and is granted: nobody will send, so another may."""
    monkeypatch.setattr(writer, "WORD_SECONDS", 60.0)
    monkeypatch.setattr(writer, "ANSWER_SECONDS", 60.0)
    async with (
        proxy(socket_of(bundled_database)) as between,
        opened(over_tcp(bundled_database, between.port), tmp_path / "cut") as database,
        opened(bundled_database, tmp_path / "other") as other,
    ):
        assert await PostgresLog(database).append(record())
        between.swallow_answers()
        begun = asyncio.ensure_future(PostgresRequests(database, lease=LONG).begin(claim()))
        async with asyncio.timeout(20):
            while not await _claimed(bundled_database):
                await asyncio.sleep(0.02)
        begun.cancel()
        between.release()
        async with asyncio.timeout(20):
            while not isinstance(await PostgresRequests(other, lease=LONG).begin(claim()), Begun):
                await asyncio.sleep(0.02)


async def _claimed(url: str) -> bool:
    connection = await asyncpg.connect(url)
    try:
        return bool(await connection.fetchval("SELECT count(*) FROM relaypost.requests"))
    finally:
        await connection.close()


async def test_a_claim_whose_answer_was_lost_is_given_back(bundled_database: str, tmp_path: Path) -> None:
    async with (
        proxy(socket_of(bundled_database)) as between,
        opened(over_tcp(bundled_database, between.port), tmp_path / "a") as cut_off,
        opened(bundled_database, tmp_path / "b") as other,
    ):
        requests, elsewhere = PostgresRequests(cut_off, lease=3600.0), PostgresRequests(other, lease=3600.0)
        claiming = asyncio.create_task(requests.begin(claim()))
        await asyncio.sleep(0)
        between.swallow_answers()
        with pytest.raises(LogUnavailableError):
            await claiming
        between.release()
        async with asyncio.timeout(30):
            while isinstance(await elsewhere.begin(claim()), InProgress):
                await asyncio.sleep(0.05)


async def test_while_the_database_is_away_claims_are_refused_at_once(bundled_database: str, tmp_path: Path) -> None:
    async with (
        proxy(socket_of(bundled_database)) as between,
        opened(over_tcp(bundled_database, between.port), tmp_path) as database,
    ):
        requests = PostgresRequests(database, lease=45.0)
        between.cut()
        with pytest.raises(LogUnavailableError):
            await requests.begin(claim())
        began = asyncio.get_running_loop().time()
        for _ in range(100):
            with pytest.raises(LogUnavailableError):
                await requests.begin(claim())
        assert asyncio.get_running_loop().time() - began < writer.WORD_SECONDS
        between.mend()
        async with asyncio.timeout(30):
            while not database.health().available:
                await asyncio.sleep(0.02)
        assert isinstance(await requests.begin(claim()), Begun)


async def test_what_is_sent_although_its_claim_was_not_answered_is_recorded_as_sent(
    bundled_database: str, tmp_path: Path
) -> None:
    """`RELAYPOST_KEYED_WITHOUT_DATABASE=send`: the claim was granted, and the gateway did not hear of it."""
    async with (
        proxy(socket_of(bundled_database)) as between,
        opened(over_tcp(bundled_database, between.port), tmp_path / "a") as cut_off,
        opened(bundled_database, tmp_path / "b") as other,
    ):
        requests, made = PostgresRequests(cut_off, lease=3600.0), claim(sent_anyway=True)
        elsewhere, log = PostgresRequests(other, lease=3600.0), PostgresLog(other)
        claiming = asyncio.create_task(requests.begin(made))
        await asyncio.sleep(0)
        between.swallow_answers()
        with pytest.raises(LogUnavailableError):
            await claiming
        sent = replace(ended(made, MessageState.SENT, attempt("ses", Kind.ACCEPTED)), provider="ses")
        assert await requests.record_unproven(sent, kept=True)
        between.release()
        async with asyncio.timeout(30):
            while await log.get(made.record.id) != sent:
                await asyncio.sleep(0.05)
        assert await elsewhere.begin(claim()) == Replay(record=sent)


async def test_what_is_sent_although_its_claim_was_not_granted_is_recorded_as_sent(replicas: list[Replica]) -> None:
    """Another message has the name."""
    await replicas[0].requests.begin(claim())
    sent = ended(claim(), MessageState.SENT, attempt("ses", Kind.ACCEPTED))
    for _ in range(2):
        assert await replicas[1].requests.record_unproven(sent, kept=True)
    assert await replicas[2].log.get(sent.id) == sent


async def test_a_message_that_is_sent_again_is_not_failed_for_a_moment(
    replicas: list[Replica], bundled_database: str
) -> None:
    """Its gateway died before any attempt; the one that takes over knows that it goes on."""
    made = claim(first_provider="")
    await replicas[0].requests.begin(made)
    connection = await asyncpg.connect(bundled_database)
    await connection.execute(
        "CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO public.states VALUES (NEW.state); RETURN NULL; END $$"
    )
    await connection.execute("CREATE TABLE public.states (state text)")
    await connection.execute(
        "CREATE TRIGGER note AFTER UPDATE ON relaypost.messages FOR EACH ROW EXECUTE FUNCTION public.note()"
    )
    await connection.execute("UPDATE relaypost.requests SET lease_until = now() - interval '1 second'")
    assert isinstance(await replicas[1].requests.begin(claim()), Begun)
    assert {row["state"] for row in await connection.fetch("SELECT state FROM public.states")} == {"sending"}
    await connection.close()
