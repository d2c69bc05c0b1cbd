"""Second sends on a real PostgreSQL: who may make one, and what they leave on record."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.delivery import EventType, RejectReason
from relaypost_server.core.failover import Attempt
from relaypost_server.core.message import Channel, MessageState
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.record import MessageRecord
from relaypost_server.core.silence import Confirm, News, OtpSend
from relaypost_server.flow import silence
from relaypost_server.store import writer
from relaypost_server.store.deliveries import PostgresDeliveries
from relaypost_server.store.messages import PostgresLog
from relaypost_server.store.silences import PostgresSilences
from tests import messages
from tests.databases import over_tcp
from tests.fakes.http import closed_port
from tests.fakes.providers import FakeProvider, Rig
from tests.messages import NOW
from tests.receipts import event
from tests.store.databases import opened
from tests.store.records import record

SENT, FAILED, BOUNCED = MessageState.SENT, MessageState.FAILED, MessageState.BOUNCED
DELIVERED = MessageState.DELIVERED


@dataclass
class Replica:
    """One gateway's view of the database."""

    silences: PostgresSilences
    deliveries: PostgresDeliveries
    log: PostgresLog

    async def get(self, message_id: str) -> MessageRecord:
        found = await self.log.get(message_id)
        assert found is not None
        return found


@asynccontextmanager
async def replica(url: str, home: Path) -> AsyncIterator[Replica]:
    async with opened(url, home) as database:
        yield Replica(PostgresSilences(database), PostgresDeliveries(database), PostgresLog(database))


@pytest.fixture
async def replicas(
    bundled_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[Replica]]:
    monkeypatch.setattr(writer, "ANSWER_SECONDS", 30.0)
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(replica(bundled_database, tmp_path / str(n))) for n in range(2)]


@pytest.fixture
def one(replicas: list[Replica]) -> Replica:
    return replicas[0]


def texted(**changes: Any) -> MessageRecord:
    """A text message that "sns" took."""
    taken = attempt("sns", Kind.ACCEPTED, cost=Money(micros=100), provider_message_id="sns-1")
    fields: dict[str, Any] = {
        "channel": Channel.SMS,
        "state": SENT,
        "provider": "sns",
        "recipients": ("+14155550123",),
        "country": "US",
        "possible_duplicate": False,
        "attempts": (taken,),
    }
    return record(**fields | changes)


def attempt(provider: str, kind: Kind, **outcome: Any) -> Attempt:
    return Attempt(
        provider=provider, outcome=Outcome(kind=kind, **outcome), circuit=CircuitState.CLOSED, start_time=NOW
    )


ABOUT = attempt("twilio", Kind.UNCONFIRMED, detail="ahead")
TAKEN = attempt("twilio", Kind.ACCEPTED, cost=Money(micros=50), provider_message_id="SM1")
REFUSED = attempt("twilio", Kind.FAULTED)


def receipt(kind: EventType, sent: MessageRecord, provider: str, **changes: Any) -> Any:
    return event(kind, message_id=sent.id, provider=provider, **changes)


async def claim(by: Replica, sent: MessageRecord, otp: OtpSend | None = None) -> bool:
    return await by.silences.claim(sent, [ABOUT], "twilio", otp, first=True)


async def kept(one: Replica) -> MessageRecord:
    sent = texted()
    await one.log.append(sent)
    return sent


async def test_of_any_number_of_claims_one_is_granted(replicas: list[Replica]) -> None:
    sent = await kept(replicas[0])
    granted = await asyncio.gather(*(claim(replicas[n % 2], sent) for n in range(12)))
    assert sum(granted) == 1
    assert (await replicas[0].get(sent.id)).country == "US"


async def test_what_is_about_to_be_sent_is_on_record_before_it_is(one: Replica) -> None:
    sent = await kept(one)
    assert await claim(one, sent)
    found = await one.get(sent.id)
    assert (found.attempts, found.possible_duplicate, found.state) == ((*sent.attempts, ABOUT), True, SENT)
    assert (await one.silences.news({sent.id: None}))[sent.id] == News(moot=True)


async def test_the_end_is_added_to_the_message(one: Replica) -> None:
    sent = await kept(one)
    await claim(one, sent)
    skipped = attempt("console", Kind.SKIPPED)
    assert await one.silences.claim(sent, [REFUSED, skipped], "console", None, first=False)
    await one.silences.finish(sent, [REFUSED, TAKEN], sent_by="twilio")
    found = await one.get(sent.id)
    assert found.attempts == (*sent.attempts, REFUSED, TAKEN)
    assert (found.possible_duplicate, found.provider, found.cost) == (True, "sns", Money(micros=150))


async def test_where_nobody_took_the_second_copy_there_is_no_duplicate(one: Replica) -> None:
    sent = await kept(one)
    await one.deliveries.record([receipt(EventType.FAILED, sent, "sns")])
    await claim(one, sent)
    await one.silences.finish(sent, [REFUSED], sent_by="")
    found = await one.get(sent.id)
    assert (found.state, found.possible_duplicate, found.attempts) == (FAILED, False, (*sent.attempts, REFUSED))
    assert not await claim(one, sent)


async def test_a_message_that_is_not_on_record_is_not_sent_again(one: Replica) -> None:
    sent = texted()
    assert not await claim(one, sent)
    assert await one.silences.news({sent.id: None}) == {}


@pytest.mark.parametrize("kind", [EventType.DELIVERED, EventType.OPENED])
async def test_what_arrived_at_the_last_moment_is_not_sent_again(one: Replica, kind: EventType) -> None:
    sent = await kept(one)
    await one.deliveries.record([receipt(kind, sent, "sns")])
    assert not await claim(one, sent)


async def test_news_tell_of_receipts(one: Replica) -> None:
    sent, other = await kept(one), await kept(one)
    arrived = receipt(EventType.DELIVERED, sent, "sns")
    await one.deliveries.record([receipt(EventType.SENT, sent, "sns"), arrived])
    assert await one.silences.news({sent.id: None, other.id: None}) == {
        sent.id: News(events=(arrived,)),
        other.id: News(),
    }


@pytest.mark.parametrize(
    ("change", "news", "granted"),
    [
        ("sends = 1", News(), True),
        ("used_time = now()", News(verified=True), False),
        ("expire_time = now()", News(moot=True), False),
        ("sends = 2", News(moot=True), False),
    ],
)
async def test_a_code_that_is_used_over_or_sent_anew_is_not_sent_again(
    one: Replica, bundled_database: str, change: str, news: News, granted: bool
) -> None:
    sent, otp = await kept(one), OtpSend(otp_id=messages.ID, number=1)
    connection = await asyncpg.connect(bundled_database)
    await connection.execute(
        "INSERT INTO relaypost.otps (id, caller, fingerprint, channel, destination, country, prefix, purpose,"
        " template, locale, variables, guarantee, ttl, pepper, mark, seal, length, expire_time)"
        " VALUES ($1, '', '', 'sms', '', '', '', '', '', '', '{}', '', 300, '', '', 0, 6, now() + interval '1 hour')",
        otp.otp_id,
    )
    await connection.execute(f"UPDATE relaypost.otps SET {change}")
    await connection.close()
    assert (await one.silences.news({sent.id: otp}))[sent.id] == news
    assert await claim(one, sent, otp) is granted


async def test_a_code_that_was_forgotten_is_not_sent_again(one: Replica) -> None:
    sent, otp = await kept(one), OtpSend(otp_id=messages.ID, number=1)
    assert (await one.silences.news({sent.id: otp}))[sent.id] == News(moot=True)
    assert not await claim(one, sent, otp)


GONE = {"reject_reason": RejectReason.OTHER, "permanent": True}


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("first", "second", "state"),
    [
        (EventType.FAILED, None, SENT),
        (EventType.BOUNCED, None, SENT),
        (EventType.BOUNCED, EventType.DELIVERED, DELIVERED),
        (EventType.BOUNCED, EventType.FAILED, FAILED),
        (EventType.DELIVERED, EventType.BOUNCED, BOUNCED),
        (EventType.DELIVERED, None, DELIVERED),
    ],
)
async def test_the_state_is_that_of_the_second_copy_unless_the_first_arrived(
    one: Replica, first: EventType, second: EventType | None, state: MessageState, late: bool
) -> None:
    """`late`: what the first provider reports comes after the second send."""
    sent = await kept(one)
    early = receipt(first, sent, "sns", **GONE)
    if not late and first is not EventType.DELIVERED:
        await one.deliveries.record([early])
    assert await claim(one, sent)
    if second is not None:
        await one.deliveries.record([receipt(second, sent, "twilio", **GONE)])
    await one.silences.finish(sent, [TAKEN], sent_by="twilio")
    await one.deliveries.record([early])
    assert (await one.get(sent.id)).state is state


async def test_without_the_database_nothing_is_known_and_nothing_granted(bundled_database: str, tmp_path: Path) -> None:
    async with replica(over_tcp(bundled_database, closed_port()), tmp_path) as away:
        for asked in (claim(away, texted()), away.silences.news({messages.ID: None})):
            with pytest.raises(LogUnavailableError):
                await asked


async def test_two_gateways_with_the_same_message_send_it_once_more_together(
    replicas: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As happens where one was stopped in the middle of a request, and another took it over."""
    monkeypatch.setattr(silence, "LOOK_SECONDS", 0.01)
    sent = await kept(replicas[0])
    rigs = []
    for one in replicas:
        chain = [FakeProvider(name, channel=Channel.SMS) for name in ("sns", "twilio")]
        made = Rig(chain, Channel.SMS, silence_log=one.silences, reporting=("sns",))
        made.silences.start()
        rigs.append(made)
    message = messages.sms()
    for made in rigs:
        followed = type(message)(id=sent.id, content=message.content, create_time=NOW)
        assert made.silences.follow(followed, sent, Confirm(within=0.05), made.dispatcher)
    async with asyncio.timeout(20):
        while any("silence_waiting_messages 0.0" not in m.metrics.render().decode() for m in rigs):
            await asyncio.sleep(0.01)
    for made in rigs:
        await made.silences.drain()
    assert sum(len(p.received) for made in rigs for p in made.providers) == 1
    found = await replicas[0].get(sent.id)
    assert [a.provider for a in found.attempts] == ["sns", "twilio"]
    assert found.possible_duplicate
