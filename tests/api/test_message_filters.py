"""Filters of ListMessages at their bounds."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from relaypost.v1 import messaging_service_pb2 as pb

from relaypost_server.api.message_queries import read_query
from relaypost_server.core.ports import MessageQuery
from relaypost_server.store.messages import PostgresLog
from tests.store.databases import opened
from tests.store.records import record


@pytest.mark.parametrize("year", [1, 1969])
async def test_messages_from_a_time_before_1970_on_are_all_messages(
    bundled_database: str, tmp_path: Path, year: int
) -> None:
    """DateTime.MinValue of .NET, and Go's zero time, are in the year 1."""
    async with opened(bundled_database, tmp_path) as database:
        log = PostgresLog(database)
        await log.append(sent := record())
        found = await log.list(MessageQuery(page_size=10, created_from=datetime(year, 1, 1, tzinfo=UTC)))
        assert [m.id for m in found] == [sent.id]
        before = MessageQuery(page_size=10, created_before=datetime(year, 1, 1, tzinfo=UTC))
        assert not await log.list(before)


@pytest.mark.parametrize("typed", ["ada＠example.com", " ada@example.com\u200b"])
def test_a_recipient_is_read_as_it_was_when_the_message_was_sent(typed: str) -> None:
    """A send takes the full-width @ of East Asian keyboards, and so must the search for it."""
    assert read_query(pb.ListMessagesRequest(recipient=typed)).recipient == "ada@example.com"
