"""Messages that wait for a confirmation, as PostgreSQL knows them, and the claim of a second send."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from relaypost_server.core.delivery import DeliveryEvent
from relaypost_server.core.failover import Attempt, total_cost
from relaypost_server.core.record import MessageRecord
from relaypost_server.core.silence import ARRIVED, TELLING, News, OtpSend
from relaypost_server.store import rows
from relaypost_server.store.database import Database
from relaypost_server.store.sql import QUERIES

_ARRIVED = [kind.value for kind in ARRIVED]
_TELLING = [kind.value for kind in TELLING]


class PostgresSilences:
    """A `flow.silence.SilenceLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def news(self, waiting: Mapping[str, OtpSend | None]) -> Mapping[str, News]:
        ids = list(waiting)
        codes = [waiting[message_id] for message_id in ids]
        otp_ids, numbers = [c and c.otp_id for c in codes], [c and c.number for c in codes]
        known = await self._database.background.fetch("news_of_messages", ids, otp_ids, numbers)
        events: dict[str, list[DeliveryEvent]] = defaultdict(list)
        for row in await self._database.background.fetch("news_events", ids, _TELLING):
            events[str(row["message_id"])].append(rows.delivery_event(row))
        return {
            row["id"]: News(events=tuple(events[row["id"]]), verified=row["verified"], moot=row["moot"])
            for row in known
        }

    async def claim(
        self, record: MessageRecord, attempts: Sequence[Attempt], provider: str, otp: OtpSend | None, *, first: bool
    ) -> bool:
        async with self._database.background.transaction() as connection:
            if first:
                asked = record.id, provider, _ARRIVED, otp and otp.otp_id, otp and otp.number
                held = await connection.fetchval(QUERIES["claim_second_send"], *asked)
            else:
                held = await connection.fetchval(QUERIES["move_second_send"], record.id, provider)
            if held is not None:
                await connection.fetch(QUERIES["write_batch"], _document(record, attempts))
        return held is not None

    async def finish(self, record: MessageRecord, attempts: Sequence[Attempt], *, sent_by: str) -> None:
        cost = total_cost(attempts)
        async with self._database.background.transaction() as connection:
            await connection.execute(
                QUERIES["end_second_send"],
                record.id,
                sent_by,
                record.possible_duplicate or sent_by != "",
                cost and cost.micros,
                cost and cost.currency,
            )
            await connection.execute(QUERIES["refold_delivery_events"], record.id)
            await connection.fetch(QUERIES["write_batch"], _document(record, attempts))


def _document(record: MessageRecord, attempts: Sequence[Attempt]) -> str:
    """What adds the attempts to a message that is on record, and changes nothing else of it."""
    return rows.batch([rows.inserted(replace(record, attempts=(*record.attempts, *attempts)))])
