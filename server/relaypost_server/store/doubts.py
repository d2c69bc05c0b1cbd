"""Lost answers in PostgreSQL, and whose turn it is to be asked about."""

from collections.abc import Sequence

from relaypost_server.core.look_ups import Doubt
from relaypost_server.store.database import Database


class PostgresDoubts:
    """A `flow.look_ups.DoubtLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, provider: str, limit: int) -> Sequence[Doubt]:
        return [
            Doubt(
                message_id=row["message_id"],
                provider=provider,
                recipient=row["recipient"],
                sender=row["sender"],
                start_time=row["start_time"],
                duration=row["duration"],
                rivals=row["rivals"],
                known=frozenset(row["known"]),
            )
            for row in await self._database.background.fetch("claim_look_ups", provider, limit)
        ]
