"""The statement that lists messages, newest first, whatever PostgreSQL believes about the values of a filter.

Left to itself the planner reads messages from the newest on until a page is
full, which reads the whole table where the wanted ones are old. So one filter
leads: its index has the messages in order, and is the only way to sort by it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from relaypost_server.core.ids import HIGHEST, uuid7
from relaypost_server.core.ports import MessageQuery

_LOWEST_ID = "00000000-0000-0000-0000-000000000000"
_HIGHEST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_IN_ORDER = "SELECT * FROM relaypost.messages WHERE {where} ORDER BY {lead}id DESC LIMIT {limit}"
_OF_EACH_STATE = """
SELECT message.*
FROM unnest({states}::text[]) AS wanted (state)
CROSS JOIN LATERAL ({page}) AS message
ORDER BY id DESC LIMIT {limit}
"""
_OF_RECIPIENT = """
WITH message AS MATERIALIZED (SELECT * FROM relaypost.messages WHERE {where})
SELECT * FROM message ORDER BY id DESC LIMIT {limit}
"""
"""Its index has no order: few messages go to one recipient."""

Bind = Callable[[object], str]
"""Adds an argument; its place in the statement."""


def list_statement(query: MessageQuery) -> tuple[str, Sequence[object]]:
    """The statement and its arguments."""
    arguments: list[object] = []

    def bind(value: object) -> str:
        arguments.append(value)
        return f"${len(arguments)}"

    return _statement(query, bind), arguments


def _statement(query: MessageQuery, bind: Bind) -> str:
    conditions, limit = _conditions(query, bind), bind(query.page_size)
    states = bind(sorted({state.value for state in query.states})) if query.states else ""
    if query.recipient:
        conditions += [f"recipients @> ARRAY[{bind(query.recipient)}::text]"]
        conditions += [f"state = ANY({states}::text[])"] if states else []
        return _OF_RECIPIENT.format(where=" AND ".join(conditions + _range(query, bind)), limit=limit)
    if states:
        page = _page("state", "wanted.state", conditions, limit, query, bind)
        return _OF_EACH_STATE.format(states=states, page=page, limit=limit)
    if query.provider:
        return _page("provider", bind(query.provider), conditions, limit, query, bind)
    if query.channel:
        return _page("channel", bind(query.channel.value), conditions, limit, query, bind)
    return _IN_ORDER.format(where=" AND ".join(conditions + _range(query, bind)), lead="", limit=limit)


def _page(lead: str, value: str, conditions: list[str], limit: str, query: MessageQuery, bind: Bind) -> str:
    """The newest messages with a value, in the order of the index that begins with its column."""
    where = " AND ".join(conditions + _range(query, bind, f"{lead}, ", f"{value}, "))
    return _IN_ORDER.format(where=where, lead=f"messages.{lead} DESC, messages.", limit=limit)


def _range(query: MessageQuery, bind: Bind, lead: str = "", value: str = "") -> list[str]:
    """Bounds of the id, which sorts by time; with a leading column they are bounds of its index."""
    low = uuid7(_milliseconds(query.created_from), 0) if query.created_from else _LOWEST_ID
    high = uuid7(_milliseconds(query.created_before), HIGHEST) if query.created_before else _HIGHEST_ID
    bounds = [(">=", low), ("<=", high)] + ([("<", query.before)] if query.before else [])
    return [f"({lead}id) {sign} ({value}{bind(bound)}::uuid)" for sign, bound in bounds]


def _conditions(query: MessageQuery, bind: Bind) -> list[str]:
    wanted = (
        ("provider = {}", query.provider),
        ("channel = {}", query.channel and query.channel.value),
        ("create_time >= {}", query.created_from),
        ("create_time < {}", query.created_before),
    )
    return [condition.format(bind(value)) for condition, value in wanted if value]


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
