"""The statement that lists messages, newest first, whatever PostgreSQL believes about the values of a filter.

Left to itself the planner reads messages from the newest on until a page is
full, which reads the whole table where the wanted ones are old. So one filter
leads: its index has the messages in order, and is the only way to sort by it.
Filters by request_id and by recipient lead before all others, because few
messages pass them; tags and metadata come next: see `_labelled`.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import orjson

from relaypost_server.core.ids import HIGHEST, uuid7
from relaypost_server.core.message import MessageState
from relaypost_server.core.ports import MessageQuery

READ_PER_ENTRY = 50
"""Messages that are read for each entry of a page before the index of tags and metadata is used. A label of more than
one message in 50 fills the page from these; of a rarer one the index finds less than a fiftieth of the table."""
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
_LABELLED = """
WITH newest AS MATERIALIZED ({newest}), found AS MATERIALIZED (
    SELECT * FROM newest WHERE {where} ORDER BY id DESC LIMIT {limit}
), older AS MATERIALIZED (
    SELECT *
    FROM (
        SELECT * FROM relaypost.messages WHERE {labels} AND (tags <> '{{}}' OR metadata <> '{{}}') OFFSET 0
    ) AS message
    WHERE
        {where} AND id < (SELECT id FROM newest ORDER BY id LIMIT 1)
        AND (SELECT count(*) FROM newest) = {most}::bigint
        AND (SELECT count(*) FROM found) < {limit}::bigint
)
SELECT * FROM (SELECT * FROM found UNION ALL SELECT * FROM older) AS message ORDER BY id DESC LIMIT {limit}
"""
_OF_REQUEST = """
WITH RECURSIVE asker AS (
    (SELECT caller, method FROM relaypost.requests ORDER BY caller, method LIMIT 1)
    UNION ALL
    SELECT following.*
    FROM asker
    CROSS JOIN LATERAL (
        SELECT caller, method FROM relaypost.requests
        WHERE (caller, method) > (asker.caller, asker.method)
        ORDER BY caller, method
        LIMIT 1
    ) AS following
), named AS MATERIALIZED (
    SELECT request.message_id
    FROM asker
    CROSS JOIN LATERAL (
        SELECT message_id FROM relaypost.requests
        WHERE caller = asker.caller AND method = asker.method AND request_id = {request_id}
        OFFSET 0
    ) AS request
    UNION
    SELECT request.message_id
    FROM relaypost.otps AS otp
    CROSS JOIN LATERAL generate_series(1, otp.sends) AS send (number)
    JOIN relaypost.requests AS request
        ON request.caller = otp.caller AND request.method = 'SendOtp'
        AND request.request_id = otp.id::text || '.' || send.number
    WHERE otp.request_id = {request_id}
)
SELECT * FROM (
    SELECT message.*
    FROM named
    CROSS JOIN LATERAL (SELECT * FROM relaypost.messages WHERE id = message_id AND {where} OFFSET 0) AS message
    UNION ALL
    SELECT message.*
    FROM relaypost.batches AS batch
    CROSS JOIN unnest({states}::text[]) AS wanted (state)
    CROSS JOIN LATERAL ({page}) AS message
    WHERE batch.request_id = {request_id}
) AS message
ORDER BY id DESC LIMIT {limit}
"""
"""A batch's name stands for all of its messages; a code's for each message that carried the code. The primary key of
`requests` begins with caller and method: one look-up for each pair of them, of which there are few, costs a report some
milliseconds, and an index by request_id would cost each send."""

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
    limit = bind(query.page_size)
    if query.request_id:
        return _of_request(query, limit, bind)
    if query.recipient:
        where = [*_conditions(query, bind), *_recipient(query, bind), *_state(query, bind), *_range(query, bind)]
        return _OF_RECIPIENT.format(where=_all(where), limit=limit)
    if query.tags or query.metadata:
        return _labelled(query, limit, bind)
    return _in_order(query, _conditions(query, bind), limit, bind)


def _in_order(query: MessageQuery, conditions: list[str], limit: str, bind: Bind) -> str:
    """The newest that pass the leading filter and the conditions."""
    if query.states:
        states = bind(sorted({state.value for state in query.states}))
        page = _page("state", "wanted.state", conditions, limit, query, bind)
        return _OF_EACH_STATE.format(states=states, page=page, limit=limit)
    if query.provider:
        return _page("provider", bind(query.provider), conditions, limit, query, bind)
    if query.channel:
        return _page("channel", bind(query.channel.value), conditions, limit, query, bind)
    return _IN_ORDER.format(where=_all(conditions + _range(query, bind)), lead="", limit=limit)


def _labelled(query: MessageQuery, limit: str, bind: Bind) -> str:
    """Some of the newest that pass the leading filter; if these do not fill the page, the rest by the labels' index.

    That index has no order, and a label may be on every message or on one. The
    planner knows nothing of how many, so neither way is left to its choice.
    """
    most = bind(READ_PER_ENTRY * query.page_size)
    newest = _in_order(query, [], most, bind)
    # Said twice: of a label that it does not know the planner believes that one message in 100 has it, which is just
    # too many for an index. It takes the two conditions for independent.
    labels = [*_labels(query, bind), *_labels(query, bind)]
    where = [*_conditions(query, bind), *_state(query, bind), *_range(query, bind)]
    return _LABELLED.format(newest=newest, labels=_all(labels), where=_all(where), most=most, limit=limit)


def _of_request(query: MessageQuery, limit: str, bind: Bind) -> str:
    conditions = [*_conditions(query, bind), *_recipient(query, bind)]
    states = bind(sorted({state.value for state in query.states or MessageState}))
    lead, value = "batch_id, state, ", "batch.id, wanted.state, "
    page = _IN_ORDER.format(
        where=_all(["batch_id IS NOT NULL", *conditions, *_range(query, bind, lead, value)]),
        lead="messages.batch_id DESC, messages.state DESC, messages.",
        limit=limit,
    )
    where = _all([*conditions, *_state(query, bind), *_range(query, bind)])
    return _OF_REQUEST.format(request_id=bind(query.request_id), where=where, states=states, page=page, limit=limit)


def _page(lead: str, value: str, conditions: list[str], limit: str, query: MessageQuery, bind: Bind) -> str:
    """The newest messages with a value, in the order of the index that begins with its column."""
    where = _all(conditions + _range(query, bind, f"{lead}, ", f"{value}, "))
    return _IN_ORDER.format(where=where, lead=f"messages.{lead} DESC, messages.", limit=limit)


def _range(query: MessageQuery, bind: Bind, lead: str = "", value: str = "") -> list[str]:
    """Bounds of the id, which sorts by time; with leading columns they are bounds of their index.

    Without such columns there are none but those of the query: the planner would take them for a small part.
    """
    low = uuid7(_milliseconds(query.created_from), 0) if query.created_from else lead and _LOWEST_ID
    high = uuid7(_milliseconds(query.created_before), HIGHEST) if query.created_before else lead and _HIGHEST_ID
    bounds = ((">=", low), ("<=", high), ("<", query.before))
    return [f"({lead}id) {sign} ({value}{bind(bound)}::uuid)" for sign, bound in bounds if bound]


def _conditions(query: MessageQuery, bind: Bind) -> list[str]:
    """All filters but those by state, recipient and request."""
    wanted = (
        ("provider = {}", query.provider),
        ("channel = {}", query.channel and query.channel.value),
        ("create_time >= {}", query.created_from),
        ("create_time < {}", query.created_before),
    )
    return [condition.format(bind(value)) for condition, value in wanted if value] + _labels(query, bind)


def _labels(query: MessageQuery, bind: Bind) -> list[str]:
    wanted = (("tags", query.tags), ("metadata", query.metadata))
    return [f"{column} @> {bind(orjson.dumps(dict(labels)).decode())}::jsonb" for column, labels in wanted if labels]


def _recipient(query: MessageQuery, bind: Bind) -> list[str]:
    return [f"recipients @> ARRAY[{bind(query.recipient)}::text]"] if query.recipient else []


def _state(query: MessageQuery, bind: Bind) -> list[str]:
    return [f"state = ANY({bind([s.value for s in query.states])}::text[])"] if query.states else []


def _all(conditions: Sequence[str]) -> str:
    return " AND ".join(conditions) or "true"


def _milliseconds(moment: datetime) -> int:
    """Since 1970, before which there are no ids; some callers name the year 1 for "from the beginning"."""
    return max(0, int(moment.timestamp() * 1000))
