"""The message log on a real PostgreSQL."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from relaypost_server.core.message import Channel, MessageState
from relaypost_server.core.outcome import Kind, RefusedRecipient
from relaypost_server.core.ports import LogUnavailableError, MessageQuery
from relaypost_server.core.record import MessageRecord
from relaypost_server.store import batch_statement, message_list, migrations, writer
from relaypost_server.store.messages import PostgresLog
from tests.databases import over_tcp, socket_of
from tests.fakes.http import closed_port
from tests.fakes.proxy import Proxy, proxy
from tests.store.databases import caught_up, opened
from tests.store.records import START, record


@pytest.fixture
async def log(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PostgresLog]:
    """A log that is never late, however slow the machine."""
    monkeypatch.setattr(writer, "ANSWER_SECONDS", 30.0)
    async with opened(database, tmp_path) as started:
        yield PostgresLog(started)


async def test_a_record_comes_back_as_it_was(log: PostgresLog) -> None:
    made = record()
    assert await log.append(made)
    assert await log.get(made.id) == made


async def test_a_record_with_little_in_it_comes_back_as_well(log: PostgresLog) -> None:
    made = record(cost=None, tags={}, metadata={}, attempts=(), provider="", provider_message_id="")
    assert await log.append(made)
    assert await log.get(made.id) == made


async def test_an_unconfirmed_recipient_is_written_as_a_code_and_comes_back_as_it_was(
    log: PostgresLog, database: str
) -> None:
    made = record()
    *earlier, last = made.attempts
    unconfirmed = RefusedRecipient(address="b@example.com", provider_code="", temporary=False, unconfirmed=True)
    made = replace(made, attempts=(*earlier, replace(last, outcome=replace(last.outcome, refused=(unconfirmed,)))))
    assert await log.append(made)
    assert await log.get(made.id) == made
    connection = await asyncpg.connect(database)
    written = await connection.fetchval("SELECT refused FROM relaypost.attempts WHERE kind = 'accepted'")
    await connection.close()
    assert json.loads(written) == [["b@example.com", "UNCONFIRMED", False]]


async def test_an_unknown_id_is_none(log: PostgresLog) -> None:
    await log.append(record())
    assert await log.get("00000000-0000-7000-8000-000000000000") is None


async def test_writing_a_record_twice_keeps_one(log: PostgresLog) -> None:
    made = record()
    await log.append(made)
    await log.append(replace(made, sender="other@example.com"))
    assert await log.get(made.id) == made


async def test_many_records_at_once_are_all_kept(log: PostgresLog) -> None:
    made = [record() for _ in range(2500)]
    await asyncio.gather(*(log.append(r) for r in made))
    await caught_up(log)
    found = [await log.get(r.id) for r in made[::100]]
    assert found == made[::100]


async def test_pages_go_backwards_through_everything(log: PostgresLog) -> None:
    made = [record() for _ in range(25)]
    for each in made:
        await log.append(each)
    seen: list[MessageRecord] = []
    before = None
    while page := await log.list(MessageQuery(page_size=10, before=before)):
        seen += page
        before = page[-1].id
    assert [r.id for r in seen] == [r.id for r in reversed(made)]
    assert seen == made[::-1]


async def test_each_filter_lets_through_what_it_should(log: PostgresLog) -> None:
    sms = record(channel=Channel.SMS, recipients=("+14155550123",), provider="sns")
    failed = record(state=MessageState.FAILED, provider="")
    later = record(create_time=START + timedelta(days=1))
    for each in (sms, failed, later):
        await log.append(each)

    async def ids(**filters: object) -> list[str]:
        return [r.id for r in await log.list(MessageQuery(**filters))]  # type: ignore[arg-type]

    assert await ids(channel=Channel.SMS) == [sms.id]
    assert await ids(recipient="+14155550123") == [sms.id]
    assert await ids(provider="sns") == [sms.id]
    assert await ids(states=(MessageState.FAILED,)) == [failed.id]
    assert await ids(states=(MessageState.FAILED, MessageState.SENT)) == [later.id, failed.id, sms.id]
    assert await ids(created_from=later.create_time) == [later.id]
    assert await ids(created_before=later.create_time) == [failed.id, sms.id]
    assert await ids(created_from=START + timedelta(days=2)) == []


async def test_a_message_is_found_by_the_id_of_each_provider_that_had_it(log: PostgresLog) -> None:
    ses, smtp = record().attempts
    doubtful = replace(ses.outcome, kind=Kind.UNCONFIRMED, provider_message_id="0100-ses")
    made = record(attempts=(replace(ses, outcome=doubtful, skipped=None), smtp))
    await log.append(made)
    assert await log.find("smtp", "id-1") == made
    assert await log.find("ses", "0100-ses") == made
    for provider, known in (("ses", "id-1"), ("smtp", "0100-ses"), ("ses", ""), ("", "id-1"), ("smtp", "id-")):
        assert await log.find(provider, known) is None


async def test_of_two_messages_with_one_id_of_a_server_the_newest_is_found(log: PostgresLog) -> None:
    made = [record() for _ in range(3)]
    for each in (made[1], made[2], made[0]):
        await log.append(each)
    assert await log.find("smtp", "id-1") == made[2]


async def test_messages_are_listed_by_all_of_some_tags_and_metadata(log: PostgresLog) -> None:
    labels: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"purpose": "signup"}, {"order": "7", "tenant": "acme"}),
        ({"purpose": "signup", "team": "a"}, {"order": "7"}),
        ({"purpose": "reset"}, {"order": "77"}),
        ({}, {}),
    ]
    made = [record(tags=tags, metadata=metadata) for tags, metadata in labels]
    for each in made:
        await log.append(each)
    numbers = {each.id: number for number, each in enumerate(made)}

    async def found(**filters: object) -> list[int]:
        return [numbers[r.id] for r in await log.list(MessageQuery(**filters))]  # type: ignore[arg-type]

    assert await found(tags={"purpose": "signup"}) == [1, 0]
    assert await found(tags={"purpose": "signup", "team": "a"}) == [1]
    assert await found(metadata={"order": "7"}) == [1, 0]
    assert await found(metadata={"order": "7", "tenant": "acme"}) == [0]
    assert await found(tags={"purpose": "reset"}, metadata={"order": "7"}) == []
    assert await found(tags={"purpose": "signup"}, before=made[1].id) == [0]
    assert await found(tags={"purpose": "signup"}, recipient="ada@example.com", provider="smtp") == [1, 0]
    assert await found(tags={"purpose": "signup"}, states=(MessageState.FAILED,)) == []
    assert await found(metadata={"order": '7"}'}) == []


async def test_pages_by_a_label_hold_each_message_once(log: PostgresLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those among the newest, then those that only the index of labels finds."""
    monkeypatch.setattr(message_list, "READ_PER_ENTRY", 2)
    made = [record(metadata={"tenant": "acme"} if number % 3 == 0 else {}) for number in range(30)]
    await asyncio.gather(*(log.append(r) for r in made))
    seen: list[str] = []
    before = None
    while page := await log.list(MessageQuery(page_size=3, before=before, metadata={"tenant": "acme"})):
        seen += [r.id for r in page]
        before = page[-1].id
    assert seen == [r.id for r in reversed(made[::3])]


async def test_one_record_that_cannot_be_written_does_not_take_others_with_it(log: PostgresLog) -> None:
    """PostgreSQL refuses NUL in text; nothing that is validated holds one."""
    good = [record() for _ in range(3)]
    bad = record(sender="nul\x00")
    answers = await asyncio.gather(*(log.append(r) for r in [good[0], bad, *good[1:]]))
    assert answers == [True, False, True, True]
    assert [await log.get(r.id) for r in good] == good
    assert log.health().waiting == 0


async def test_a_lost_database_delays_no_caller_and_loses_no_record(shaky: tuple[PostgresLog, Proxy]) -> None:
    log, between = shaky
    between.cut()
    made = [record() for _ in range(100)]
    async with asyncio.timeout(batch_statement.STATEMENT_SECONDS / 2):
        answers = await asyncio.gather(*(log.append(r) for r in made))
    assert all(answers)  # On disk.
    assert log.health().waiting == 100
    assert log.health().spool_bytes > 0
    assert not log.health().available
    with pytest.raises(LogUnavailableError):
        await log.get(made[0].id)
    between.mend()
    await caught_up(log)
    assert [await log.get(r.id) for r in made] == made


async def test_a_slow_database_delays_no_caller(shaky: tuple[PostgresLog, Proxy]) -> None:
    log, between = shaky
    between.hold()
    made = [record() for _ in range(10)]
    async with asyncio.timeout(batch_statement.STATEMENT_SECONDS / 2):
        assert [await log.append(r) for r in made] == [True] * 10
    between.release()
    await caught_up(log)
    assert [await log.get(r.id) for r in made] == made


async def test_an_answer_that_is_lost_after_the_commit_makes_no_second_row(
    shaky: tuple[PostgresLog, Proxy], bundled_database: str
) -> None:
    log, between = shaky
    made = record()
    append = asyncio.ensure_future(log.append(made))
    await asyncio.sleep(0)
    between.cut()
    await append
    between.mend()
    await caught_up(log)
    assert await log.get(made.id) == made


async def test_what_waits_comes_before_what_follows(shaky: tuple[PostgresLog, Proxy], bundled_database: str) -> None:
    log, between = shaky
    between.cut()
    made = [record() for _ in range(50)]
    for each in made[:25]:
        await log.append(each)
    between.mend()
    for each in made[25:]:
        await log.append(each)
    await caught_up(log)
    connection = await asyncpg.connect(bundled_database)
    rows = await connection.fetch("SELECT id::text FROM relaypost.messages ORDER BY ctid")
    await connection.close()
    assert [row["id"] for row in rows][1:] == [r.id for r in made]


async def test_the_disk_that_is_used_is_bounded(bundled_database: str, tmp_path: Path) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{closed_port()}/none"
    async with opened(nowhere, tmp_path, spool_bytes=10_000) as database:
        log = PostgresLog(database)
        answers = await asyncio.gather(*(log.append(record()) for _ in range(200)))
        assert 1 <= sum(answers) < 100
        assert database.health().waiting == len(answers)  # The others wait in memory.
        assert database.health().spool_bytes <= 10_000


async def test_what_is_on_disk_outlives_its_gateway(bundled_database: str, tmp_path: Path) -> None:
    made = [record() for _ in range(10)]
    nowhere = f"postgresql://nobody@127.0.0.1:{closed_port()}/none"
    async with opened(nowhere, tmp_path) as database:
        for each in made:
            assert await PostgresLog(database).append(each)
    async with opened(bundled_database, tmp_path) as database:
        log = PostgresLog(database)
        await caught_up(log)
        assert [await log.get(r.id) for r in made] == made


async def test_a_log_starts_without_its_database(bundled_database: str, tmp_path: Path) -> None:
    async with proxy(socket_of(bundled_database)) as between:
        between.cut()
        async with opened(over_tcp(bundled_database, between.port), tmp_path) as database:
            log = PostgresLog(database)
            made = record()
            assert await log.append(made)
            between.mend()
            await caught_up(log)
            assert await log.get(made.id) == made


async def test_without_leave_to_migrate_the_log_waits_for_the_schema(
    empty_bundled_database: str, tmp_path: Path
) -> None:
    async with opened(empty_bundled_database, tmp_path, auto_migrate=False) as database:
        log = PostgresLog(database)
        made = record()
        assert await log.append(made)
        assert not log.health().available
        connection = await asyncpg.connect(empty_bundled_database)
        await migrations.migrate(connection)
        await connection.close()
        await caught_up(log)
        assert await log.get(made.id) == made


async def test_replicas_that_start_together_migrate_once(empty_database: str) -> None:
    connections = [await asyncpg.connect(empty_database) for _ in range(5)]
    applied = await asyncio.gather(*(migrations.migrate(c) for c in connections))
    assert sorted(len(a) for a in applied) == [0, 0, 0, 0, len(migrations.all_migrations())]
    assert await migrations.pending(connections[0]) == []
    for connection in connections:
        await connection.close()


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [m.number for m in migrations.all_migrations()] == list(range(1, len(migrations.all_migrations()) + 1))
