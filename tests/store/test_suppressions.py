"""The suppression list on a real PostgreSQL, as several gateways read and write it."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from relaypost_server.core.delivery import EventType
from relaypost_server.core.message import MessageState
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.suppression import (
    EVERY_CALLER,
    Change,
    Reply,
    Suppression,
    SuppressionPolicy,
    SuppressionQuery,
    SuppressionReason,
    SuppressionSource,
)
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.suppressions import Suppressions
from relaypost_server.store import suppressions as module
from relaypost_server.store.deliveries import PostgresDeliveries
from relaypost_server.store.messages import PostgresLog
from relaypost_server.store.suppressions import PostgresSuppressions
from relaypost_server.telemetry.metrics import Metrics
from tests import messages
from tests.databases import over_tcp
from tests.fakes.http import closed_port
from tests.receipts import EARLY, event
from tests.store.databases import opened
from tests.store.records import record

BOUNCED, COMPLAINED = SuppressionReason.BOUNCED, SuppressionReason.COMPLAINED
ADA = "ada@example.com"


@dataclass
class Replica:
    """One gateway's view of the database."""

    suppressions: Suppressions
    store: PostgresSuppressions
    deliveries: PostgresDeliveries
    log: PostgresLog

    async def among(self, *recipients: str, caller: str = "signup") -> dict[str, SuppressionReason]:
        """What the next send would know, after a look at the database."""
        await self.suppressions.refresh()
        return dict(self.suppressions.among(caller, recipients))


@pytest.fixture
async def replicas(bundled_database: str, tmp_path: Path) -> AsyncIterator[list[Replica]]:
    """Two of them."""
    async with AsyncExitStack() as stack:
        made = []
        for number in range(2):
            database = await stack.enter_async_context(opened(bundled_database, tmp_path / str(number)))
            store = PostgresSuppressions(database)
            made.append(
                Replica(
                    in_memory(store), store, PostgresDeliveries(database, SuppressionPolicy()), PostgresLog(database)
                )
            )
        yield made


def in_memory(store: PostgresSuppressions) -> Suppressions:
    return Suppressions(store, refresh_seconds=0.1, policy=SuppressionPolicy(), metrics=Metrics(), clock=Clock())


def entry(address: str = ADA, **changes: Any) -> Suppression:
    fields: dict[str, Any] = {"caller": "signup", "reason": BOUNCED, "create_time": EARLY}
    return Suppression(address=address, **fields | changes)


def bounce(message_id: str, *recipients: str, **changes: Any) -> Any:
    fields: dict[str, Any] = {"suppression": BOUNCED, "recipients": recipients or (ADA,)}
    return event(EventType.BOUNCED, message_id=message_id, **fields | changes)


async def test_what_one_replica_learns_the_other_knows(replicas: list[Replica]) -> None:
    one, other = replicas
    sent = record(state=MessageState.SENT)
    await one.log.append(sent)
    assert await other.among(ADA) == {}
    await one.deliveries.record([bounce(sent.id)])
    assert await other.among(ADA, "b@example.com") == {ADA: BOUNCED}
    [known] = await other.store.list(SuppressionQuery(callers=("signup",)))
    assert known == entry(source=SuppressionSource.EVENT, provider="ses", message_id=sent.id)


async def test_the_list_goes_on_after_a_clean_up_that_failed(
    replicas: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It failed after the first load: the next refresh took the list for fresh, and asked for no change for a day."""
    one, other = replicas
    await one.store.put([entry("b@example.com")])

    async def fail(_: PostgresSuppressions) -> None:
        raise LogUnavailableError

    with monkeypatch.context() as patch:
        patch.setattr(PostgresSuppressions, "sweep", fail)
        with pytest.raises(LogUnavailableError):
            await other.suppressions.refresh()
    await one.store.put([entry(ADA)])
    assert await other.among(ADA, "b@example.com") == {ADA: BOUNCED, "b@example.com": BOUNCED}


async def test_a_list_is_its_callers_own_but_for_entries_of_all(replicas: list[Replica]) -> None:
    one, other = replicas
    await one.store.put([entry(), entry("b@example.com", caller=EVERY_CALLER), entry("c@example.com", caller="")])
    everybody = (ADA, "b@example.com", "c@example.com")
    assert set(await other.among(*everybody, caller="signup")) == {ADA, "b@example.com"}
    assert set(await other.among(*everybody, caller="billing")) == {"b@example.com"}
    assert set(await other.among(*everybody, caller="")) == {"b@example.com", "c@example.com"}


async def test_case_does_not_matter(replicas: list[Replica]) -> None:
    one, _ = replicas
    sent = record(state=MessageState.SENT, recipients=("Ada@example.com",))
    await one.log.append(sent)
    await one.deliveries.record([bounce(sent.id)])
    assert await one.among("ADA@example.com") == {"ADA@example.com": BOUNCED}


async def test_a_receipt_that_is_early_suppresses_once_its_message_is_there(replicas: list[Replica]) -> None:
    one, other = replicas
    late = record(state=MessageState.SENT)
    await one.deliveries.record([bounce(late.id)])
    assert await one.among(ADA) == {}
    await one.log.append(late)
    assert await other.deliveries.match() == 1
    assert await one.among(ADA) == {ADA: BOUNCED}


async def test_a_receipt_proves_nothing_about_strangers(replicas: list[Replica]) -> None:
    one, _ = replicas
    sent = record(state=MessageState.SENT)
    await one.log.append(sent)
    await one.deliveries.record([bounce(sent.id, "victim@example.com", "b@example.com")])
    assert await one.among(ADA, "b@example.com", "victim@example.com") == {"b@example.com": BOUNCED}


async def test_what_was_taken_off_stays_off_until_something_happens_later(replicas: list[Replica]) -> None:
    one, other = replicas
    sent = record(state=MessageState.SENT)
    await one.log.append(sent)
    await one.deliveries.record([bounce(sent.id)])
    assert await other.among(ADA)
    assert await one.suppressions.remove(ADA, "signup")
    assert not await one.suppressions.remove(ADA, "signup")
    assert await other.among(ADA) == {}
    await one.deliveries.record([bounce(sent.id)])
    assert await other.among(ADA) == {}
    await one.deliveries.record([bounce(sent.id, time=datetime.now(UTC) + timedelta(minutes=1))])
    assert await other.among(ADA) == {ADA: BOUNCED}


async def test_an_end_comes_and_a_longer_reason_outlasts_a_shorter(replicas: list[Replica]) -> None:
    one, other = replicas
    soon = datetime.now(UTC) + timedelta(seconds=2)
    await one.store.put([entry(expire_time=soon)])
    assert await other.among(ADA) == {ADA: BOUNCED}
    async with asyncio.timeout(20):
        while other.suppressions.among("signup", [ADA]):
            await asyncio.sleep(0.05)
    assert await one.store.find(ADA, "signup") is None
    assert await one.store.note([entry(reason=COMPLAINED)]) == 1
    assert await one.store.note([entry(expire_time=soon + timedelta(days=9))]) == 0
    assert await other.among(ADA) == {ADA: COMPLAINED}


async def test_a_bounce_may_be_given_an_end(bundled_database: str, tmp_path: Path) -> None:
    async with opened(bundled_database, tmp_path) as database:
        sent = record(state=MessageState.SENT)
        await PostgresLog(database).append(sent)
        deliveries = PostgresDeliveries(database, SuppressionPolicy(bounce_seconds=86_400))
        now = datetime.now(UTC)
        await deliveries.record([bounce(sent.id, time=now), bounce(sent.id, "b@example.com", suppression=COMPLAINED)])
        found = await PostgresSuppressions(database).list(SuppressionQuery(callers=("signup",)))
        assert [s.expire_time for s in found] == [now + timedelta(days=1), None]


async def test_receipts_may_be_told_to_suppress_nobody(bundled_database: str, tmp_path: Path) -> None:
    async with opened(bundled_database, tmp_path) as database:
        sent = record(state=MessageState.SENT)
        await PostgresLog(database).append(sent)
        await PostgresDeliveries(database).record([bounce(sent.id)])
        assert await PostgresSuppressions(database).list(SuppressionQuery(callers=("signup",))) == []


async def test_putting_the_same_twice_changes_nothing(replicas: list[Replica]) -> None:
    one, _ = replicas
    wanted = [entry(f"{n}@example.com") for n in range(5)]
    assert await one.store.put(wanted) == 5
    assert await one.store.put([replace(s, create_time=datetime.now(UTC)) for s in wanted]) == 0
    assert await one.store.put([replace(wanted[0], note="asked by phone"), *wanted[1:], wanted[1]]) == 1


async def test_a_change_that_commits_late_is_not_missed(replicas: list[Replica], bundled_database: str) -> None:
    """A transaction that began before the last look, and ends after it."""
    one, _ = replicas
    await one.among(ADA)
    slow = await asyncpg.connect(bundled_database)
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute(
        "INSERT INTO relaypost.suppressions (address, caller, reason, source, provider, note, create_time)"
        " VALUES ($1, 'signup', 'bounced', 'manual', '', '', now())",
        ADA,
    )
    await one.store.put([entry("b@example.com")])
    assert await one.among(ADA, "b@example.com") == {"b@example.com": BOUNCED}
    await transaction.commit()
    assert await one.among(ADA, "b@example.com") == {ADA: BOUNCED, "b@example.com": BOUNCED}
    await slow.close()


async def test_many_pages_are_read_to_the_end(replicas: list[Replica], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 7)
    one, other = replicas
    everybody = [f"{n}@example.com" for n in range(50)]
    await one.store.put([entry(a) for a in everybody[:20]])
    assert len(await other.among(*everybody)) == 20
    await one.store.put([entry(a) for a in everybody[20:]])
    assert len(await other.among(*everybody)) == 50
    found, after = [], None
    while page := await one.store.list(SuppressionQuery(callers=("signup",), page_size=11, after=after)):
        found += [s.address for s in page]
        after = (page[-1].address, page[-1].caller)
    assert sorted(found) == sorted(everybody)


async def test_only_what_has_changed_is_read_again(replicas: list[Replica]) -> None:
    one, other = replicas
    await one.store.put([entry(f"{n}@example.com") for n in range(50)])
    await other.suppressions.refresh()
    await one.store.put([entry(ADA)])
    told: list[Change] = []
    changes = other.store.changes

    async def watched(cursor: Any) -> Any:
        page = await changes(cursor)
        told.extend(page.changes)
        return page

    other.store.changes = watched  # type: ignore[method-assign]
    assert await other.among(ADA)
    assert [c.address for c in told] == [ADA]


async def test_rows_of_a_restored_dump_are_read_once(replicas: list[Replica], bundled_database: str) -> None:
    """Their transactions were counted by another server, far ahead of this one."""
    connection = await asyncpg.connect(bundled_database)
    await replicas[0].store.put([entry()])
    await connection.execute("UPDATE relaypost.suppressions SET change = '99999999999'")
    assert await replicas[1].among(ADA) == {ADA: BOUNCED}
    assert await connection.fetchval("SELECT change < pg_current_xact_id() FROM relaypost.suppressions")
    await connection.close()


async def test_a_database_that_went_back_is_read_from_the_beginning(
    replicas: list[Replica], bundled_database: str
) -> None:
    one, _ = replicas
    await one.store.put([entry(), entry("b@example.com")])
    assert await one.among(ADA, "b@example.com")
    one.suppressions._horizon = 10**12
    connection = await asyncpg.connect(bundled_database)
    await connection.execute("DELETE FROM relaypost.suppressions WHERE address = $1", ADA)
    await connection.close()
    assert await one.among(ADA, "b@example.com") == {"b@example.com": BOUNCED}


async def test_a_refusal_counts_at_once_and_reaches_the_others(replicas: list[Replica]) -> None:
    one, other = replicas
    text = replace(messages.sms(), caller="signup")
    number = text.content.to
    one.suppressions.opted_out(text, "twilio")
    assert one.suppressions.among("signup", [number]) == {number: SuppressionReason.UNSUBSCRIBED}
    assert await other.among(number) == {}
    await one.suppressions.refresh()
    assert await other.among(number) == {number: SuppressionReason.UNSUBSCRIBED}
    assert await other.among(number, caller="billing") == {}


async def test_a_mailbox_that_does_not_exist_is_suppressed_as_a_hard_bounce_is(replicas: list[Replica]) -> None:
    one, other = replicas
    message = replace(messages.full_email(), caller="signup")
    one.suppressions.bounced(message, "smtp", [ADA])
    assert one.suppressions.among("signup", [ADA, "grace@example.com"]) == {ADA: BOUNCED}
    await one.suppressions.refresh()
    assert await other.among(ADA) == {ADA: BOUNCED}
    [found] = await other.store.list(SuppressionQuery(callers=("signup",)))
    told = (found.source, found.provider, found.message_id, found.expire_time)
    assert told == (SuppressionSource.PROVIDER, "smtp", message.id, None)


async def test_it_ends_when_hard_bounces_do(replicas: list[Replica]) -> None:
    one, other = replicas
    short = SuppressionPolicy(bounce_seconds=86_400.0)
    of_a_day = Suppressions(one.store, refresh_seconds=0.1, policy=short, metrics=Metrics(), clock=Clock())
    of_a_day.bounced(replace(messages.email(), caller="signup"), "smtp", [ADA])
    await of_a_day.refresh()
    [found] = await other.store.list(SuppressionQuery(callers=("signup",)))
    assert found.expire_time is not None


async def test_nobody_is_suppressed_where_the_list_is_left_to_people(replicas: list[Replica]) -> None:
    one, _ = replicas
    by_hand = Suppressions(one.store, refresh_seconds=0.1, policy=None, metrics=Metrics(), clock=Clock())
    by_hand.bounced(messages.email(), "smtp", [ADA])
    assert by_hand.among("", [ADA]) == {}


async def test_the_list_follows_a_providers_own(replicas: list[Replica]) -> None:
    one, other = replicas
    assert await one.store.claim_opt_outs("sns", every=3600)
    assert not await other.store.claim_opt_outs("sns", every=3600)
    assert await other.store.claim_opt_outs("sns", every=0)
    await one.store.put([entry("+14155550100", caller=EVERY_CALLER)])
    numbers = ["+14155550100", "+14155550101", "+14155550102"]
    assert await one.store.replace_opt_outs("sns", numbers) == (2, 0)
    assert await one.store.replace_opt_outs("sns", numbers) == (0, 0)
    assert set(await other.among(*numbers, caller="whoever")) == set(numbers)
    assert await one.store.replace_opt_outs("sns", numbers[:2]) == (0, 1)
    assert set(await other.among(*numbers)) == set(numbers[:2])
    assert await one.store.replace_opt_outs("sns", []) == (0, 1)
    assert set(await other.among(*numbers)) == {"+14155550100"}


async def test_what_is_long_over_is_forgotten(replicas: list[Replica], bundled_database: str) -> None:
    one, _ = replicas
    now = datetime.now(UTC)
    await one.store.put(
        [entry(), entry("old@example.com"), entry("over@example.com", expire_time=now - timedelta(days=8))]
    )
    await one.store.remove("old@example.com", "signup")
    connection = await asyncpg.connect(bundled_database)
    await connection.execute("UPDATE relaypost.suppressions SET remove_time = remove_time - '8 days'::interval")
    await one.store.sweep()
    assert await connection.fetchval("SELECT array_agg(address) FROM relaypost.suppressions") == [ADA]
    await connection.close()


async def test_many_writers_at_once_do_not_lock_one_another_out(replicas: list[Replica]) -> None:
    everybody = [f"{n}@example.com" for n in range(300)]
    orders = [everybody, everybody[::-1], everybody[150:] + everybody[:150]] * 3
    wanted = [[entry(a, note=str(n)) for a in order] for n, order in enumerate(orders)]
    await asyncio.gather(*(replicas[n % 2].store.put(batch) for n, batch in enumerate(wanted)))
    assert len(await replicas[0].among(*everybody)) == 300


async def test_while_the_database_is_away_the_copy_stays(
    replicas: list[Replica], bundled_database: str, tmp_path: Path
) -> None:
    one, _ = replicas
    await one.store.put([entry()])
    await one.among(ADA)
    async with opened(over_tcp(bundled_database, closed_port()), tmp_path / "away") as nowhere:
        one.suppressions.store = PostgresSuppressions(nowhere)
        with pytest.raises(LogUnavailableError):
            await one.suppressions.refresh()
        assert one.suppressions.among("signup", [ADA]) == {ADA: BOUNCED}
        newcomer = in_memory(PostgresSuppressions(nowhere))
        await newcomer.load()
        assert newcomer.among("signup", [ADA]) == {}


PHONE = "+14155550123"
_replies = itertools.count()


def reply(*, wants: bool | None, **changes: Any) -> Reply:
    fields: dict[str, Any] = {"provider": "twilio", "address": PHONE, "id": f"SM{next(_replies)}"}
    return Reply(wants_messages=wants, **fields | changes)


async def test_stop_is_said_to_the_callers_who_wrote_and_start_takes_it_back(replicas: list[Replica]) -> None:
    one, other = replicas
    now = datetime.now(UTC)
    for caller, provider, age in (
        ("signup", "twilio", 1),
        ("news", "twilio", 89),
        ("old", "twilio", 91),
        ("x", "sns", 1),
    ):
        sent = record(
            caller=caller, provider=provider, recipients=(PHONE,), create_time=now - timedelta(days=age), attempts=()
        )
        await one.log.append(sent)
    await one.suppressions.heard(reply(wants=None))
    assert await other.among(PHONE) == {}
    await one.suppressions.heard(reply(wants=False))
    stopped = {caller for caller in ("signup", "news", "old", "x", "") if await other.among(PHONE, caller=caller)}
    assert stopped == {"signup", "news"}
    await one.store.put([entry(PHONE, caller="x", reason=SuppressionReason.UNSUBSCRIBED)])
    await one.suppressions.heard(reply(wants=True))
    still = {caller for caller in ("signup", "news", "x") if await other.among(PHONE, caller=caller)}
    assert still == {"x"}  # That one was put there by hand.


async def test_stop_to_nobody_known_is_said_to_all(replicas: list[Replica]) -> None:
    one, other = replicas
    await one.suppressions.heard(reply(wants=False))
    assert await other.among(PHONE, caller="whoever")
    await one.suppressions.heard(reply(wants=True))
    assert await other.among(PHONE, caller="whoever") == {}


async def test_an_old_reply_that_is_reported_again_undoes_nothing(replicas: list[Replica]) -> None:
    one, other = replicas
    start, stop = reply(wants=True), reply(wants=False)
    for replica, each in ((one, start), (one, stop), (other, start)):
        await replica.suppressions.heard(each)
    assert await other.among(PHONE, caller="whoever")
    await one.suppressions.heard(reply(wants=True))
    await other.suppressions.heard(stop)
    assert await one.among(PHONE, caller="whoever") == {}


async def test_the_last_word_counts_whatever_the_clock_of_a_gateway_says(
    replicas: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    """STOP, START and STOP again, the second STOP by a gateway whose clock is an hour slow."""
    one, _ = replicas
    for wants in (False, True):
        await one.suppressions.heard(reply(wants=wants))
    slow = SimpleNamespace(now=lambda zone: datetime.now(zone) - timedelta(hours=1))
    monkeypatch.setattr(module, "datetime", slow)
    await one.suppressions.heard(reply(wants=False))
    assert await one.among(PHONE, caller="whoever")


@pytest.mark.parametrize("ahead", [timedelta(hours=2), timedelta(hours=-2)])
async def test_a_suppression_ends_by_the_databases_clock(replicas: list[Replica], ahead: timedelta) -> None:
    store, now = replicas[0].store, datetime.now(UTC)
    await store.put([entry(expire_time=now + timedelta(hours=1)), entry("b@example.com", expire_time=now)])
    wrong = Clock(wall=lambda: datetime.now(UTC) + ahead)
    known = Suppressions(store, refresh_seconds=0.1, policy=SuppressionPolicy(), metrics=Metrics(), clock=wrong)
    await known.load()
    assert known.among("signup", [ADA, "b@example.com"]) == {ADA: BOUNCED}


async def test_start_takes_back_what_a_refusal_told(replicas: list[Replica]) -> None:
    one, other = replicas
    one.suppressions.opted_out(replace(messages.sms(), caller="signup"), "twilio")
    assert await one.among(PHONE)
    await other.suppressions.heard(reply(wants=True))
    assert await one.among(PHONE) == {}
