"""What became of messages, as PostgreSQL counts it."""

from collections.abc import Collection, Sequence
from datetime import datetime

from relaypost_server.core.delivery import EventType, RejectReason
from relaypost_server.core.delivery_rates import Fate
from relaypost_server.core.ids import HIGHEST, uuid7
from relaypost_server.core.message import Channel
from relaypost_server.core.silence import TELLING
from relaypost_server.store.database import Database

MOST_MESSAGES = 20_000
"""The latest ones that are looked at: some 0.1 s of the database's time."""


class PostgresFates:
    """A `flow.delivery_upkeep.FateLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fates(self, providers: Collection[str], *, created: tuple[datetime, datetime]) -> Sequence[Fate]:
        first, last = (int(moment.timestamp() * 1000) for moment in created)
        found = await self._database.background.fetch(
            "delivery_fates",
            uuid7(first, 0),
            uuid7(last, HIGHEST),
            MOST_MESSAGES,
            list(providers),
            [kind.value for kind in TELLING],
        )
        return [
            Fate(
                channel=Channel(row["channel"]),
                provider=row["provider"],
                country=row["country"],
                kind=EventType(row["type"]) if row["type"] else None,
                reason=RejectReason(row["reject_reason"]) if row["reject_reason"] else None,
                permanent=bool(row["permanent"]),
                messages=row["messages"],
            )
            for row in found
        ]
