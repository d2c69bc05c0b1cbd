"""The message log in PostgreSQL."""

from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import replace

from relaypost_server.core.health import MessageLogHealth
from relaypost_server.core.message import MessageState
from relaypost_server.core.ports import MessageQuery
from relaypost_server.core.record import MessageRecord
from relaypost_server.store.database import Database
from relaypost_server.store.message_list import list_statement
from relaypost_server.store.rows import Row, delivery_event, inserted, records

NOT_SENT = "an operator found that it was not sent"


class PostgresLog:
    """A `core.ports.MessageLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def health(self) -> MessageLogHealth:
        return self._database.health()

    def append(self, record: MessageRecord) -> Awaitable[bool]:
        return self._database.writer.append(record.id, inserted(record))

    async def get(self, message_id: str) -> MessageRecord | None:
        messages = await self._database.fetch("get_message", message_id)
        found = await self._with_attempts(messages)
        if not found:
            return None
        events = await self._database.fetch("list_delivery_events", message_id)
        return replace(found[0], events=tuple(delivery_event(e) for e in events))

    async def find(self, provider: str, provider_message_id: str) -> MessageRecord | None:
        found = await self._database.fetch("find_message", provider, provider_message_id)
        return await self.get(str(found[0]["id"])) if found else None

    async def versions(self, message_ids: Collection[str]) -> Mapping[str, object]:
        rows = await self._database.fetch("message_versions", list(message_ids))
        return {row["id"]: row["version"] for row in rows}

    async def list(self, query: MessageQuery) -> Sequence[MessageRecord]:
        statement, arguments = list_statement(query)
        async with self._database.reports.session() as session:
            messages = await session.fetch_text(statement, *arguments)
            attempts = await session.fetch("list_attempts", [m["id"] for m in messages])
        return records(messages, attempts)

    async def resolve(self, message_id: str, *, sent: bool) -> MessageRecord | None:
        state = MessageState.SENT if sent else MessageState.FAILED
        resolved = await self._database.fetch("resolve_message", message_id, state.value, NOT_SENT)
        return await self.get(message_id) if resolved else None

    async def _with_attempts(self, messages: Sequence[Row]) -> Sequence[MessageRecord]:
        if not messages:
            return []
        return records(messages, await self._database.fetch("list_attempts", [m["id"] for m in messages]))
