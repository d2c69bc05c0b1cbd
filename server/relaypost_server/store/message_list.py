"""The statement that lists messages: it names only the filters that are set, so that each can use its index."""

from collections.abc import Sequence
from datetime import datetime

from relaypost_server.core.ids import HIGHEST, uuid7
from relaypost_server.core.ports import MessageQuery

_FILTERED = "SELECT * FROM relaypost.messages WHERE {where} ORDER BY id DESC LIMIT {limit}"
_BY_STATE = """
SELECT message.*
FROM unnest({states}::text[]) AS wanted (state)
CROSS JOIN LATERAL (
    SELECT * FROM relaypost.messages WHERE messages.state = wanted.state AND {where} ORDER BY id DESC LIMIT {limit}
) AS message
ORDER BY id DESC LIMIT {limit}
"""
"""Of each state its own newest, which an index has in order; no index has several states in order."""


def list_statement(query: MessageQuery) -> tuple[str, Sequence[object]]:
    """The statement and its arguments. Ids sort by time: the bounds of id repeat those of `create_time` for indexes."""
    arguments: list[object] = []

    def bound(value: object) -> str:
        arguments.append(value)
        return f"${len(arguments)}"

    wanted = (
        ("id < {}::uuid", query.before),
        ("channel = {}", query.channel and query.channel.value),
        ("recipients @> ARRAY[{}::text]", query.recipient),
        ("provider = {}", query.provider),
        ("create_time >= {}", query.created_from),
        ("id >= {}::uuid", query.created_from and uuid7(_milliseconds(query.created_from), 0)),
        ("create_time < {}", query.created_before),
        ("id <= {}::uuid", query.created_before and uuid7(_milliseconds(query.created_before), HIGHEST)),
    )
    where = " AND ".join(condition.format(bound(value)) for condition, value in wanted if value) or "true"
    limit = bound(query.page_size)
    if not query.states:
        return _FILTERED.format(where=where, limit=limit), arguments
    states = bound(list({state.value for state in query.states}))
    return _BY_STATE.format(where=where, limit=limit, states=states), arguments


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
