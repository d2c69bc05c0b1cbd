"""What messages cost, as PostgreSQL adds it up."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from relaypost_server.core.costs import Spending
from relaypost_server.core.ids import uuid7
from relaypost_server.core.message import Channel
from relaypost_server.store.pools import Pool, Session
from relaypost_server.store.rows import Row


class PostgresCosts:
    """A `core.cost_ports.CostLog`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def spendings(
        self, first: date, last: date, *, channel: Channel | None = None, by_caller: bool
    ) -> Sequence[Spending]:
        found: list[Spending] = []
        day = first
        async with self._pool.session() as session:
            while day <= last:  # Day by day, so that no statement takes long.
                following = day + timedelta(days=1)
                rows = await session.fetch(
                    "spendings", _first_id(day), _first_id(following), channel and channel.value, by_caller
                )
                found += [_spending(row) for row in rows]
                day = following if rows else await _next_day(session, following)
        return found


async def _next_day(session: Session, day: date) -> date:
    """The day, or a later one, of the next message."""
    rows = await session.fetch("next_message_day", _first_id(day))
    return max(day, rows[0]["day"]) if rows else date.max


def _spending(row: Row) -> Spending:
    return Spending(
        day=row["day"],
        channel=Channel(row["channel"]),
        provider=row["provider"],
        first_choice=row["first_choice"],
        duplicate=row["duplicate"],
        country=row["country"],
        caller=row["caller"],
        currency=row["currency"],
        sends=row["sends"],
        units=row["units"],
        estimated=row["estimated"],
        billed=row["billed"],
        billed_sends=row["billed_sends"],
        unbilled=row["unbilled"],
        unpriced=row["unpriced"],
    )


def _first_id(day: date) -> str:
    """The id that no message of the day, and every message of a later one, is above."""
    return uuid7(int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000), 0)
