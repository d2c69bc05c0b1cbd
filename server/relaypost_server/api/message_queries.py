"""Reads what is asked of GetMessage and ListMessages."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from relaypost.v1 import messaging_service_pb2 as pb

from relaypost_server.api import pack
from relaypost_server.api.addresses import read_recipient
from relaypost_server.api.pages import read_cursor, read_page_size
from relaypost_server.api.request_keys import check_request_id, read_channel, read_message_id, read_metadata
from relaypost_server.api.violations import Violations
from relaypost_server.core.message import MessageState
from relaypost_server.core.outcome import PROVIDER_ID_LIMIT
from relaypost_server.core.ports import MessageQuery

MOST_STATES = 20
MOST_TAGS = 10
LONGEST_LABEL = 128
LONGEST_PROVIDER = 64
_STATES = {packed: state for state, packed in pack.STATES.items()}
_PROVIDER_ID = re.compile(f"[!-~]{{1,{PROVIDER_ID_LIMIT}}}")


def read_which(request: pb.GetMessageRequest) -> str | tuple[str, str]:
    """The message's id, or its provider and that provider's id. Raises InvalidRequestError."""
    bad = Violations()
    if request.provider or request.provider_message_id:
        found = _read_provider_id(request, bad)
        bad.check()
        return found
    if not request.message_id:
        bad.add("message_id", "is required, or provider and provider_message_id in its place")
        bad.check()
    message_id = read_message_id(request.message_id, bad)
    bad.check()
    return message_id


def _read_provider_id(request: pb.GetMessageRequest, bad: Violations) -> tuple[str, str]:
    provider, provider_message_id = request.provider, request.provider_message_id
    if request.message_id:
        for name in ("provider", "provider_message_id"):
            if getattr(request, name):
                bad.add(name, "is refused together with message_id: give one of them")
    elif not provider:
        bad.add("provider", "is required together with provider_message_id")
    elif not provider_message_id:
        bad.add("provider_message_id", "is required together with provider")
    else:
        bad.line("provider", provider, longest=LONGEST_PROVIDER)
        if not _PROVIDER_ID.fullmatch(provider_message_id):
            bad.add(
                "provider_message_id",
                f"must have 1 to {PROVIDER_ID_LIMIT} printable ASCII characters, and no space",
            )
    return provider, provider_message_id


def read_query(request: pb.ListMessagesRequest) -> MessageQuery:
    """Raises InvalidRequestError."""
    bad = Violations()
    query = MessageQuery(
        page_size=read_page_size(request.page_size, bad),
        before=read_cursor(request.page_token, bad),
        states=_states(request, bad),
        channel=read_channel("channel", request.channel, bad),
        recipient=read_recipient("recipient", request.recipient, bad),
        provider=request.provider,
        created_from=_moment("created_from", request.created_from if request.HasField("created_from") else None, bad),
        created_before=_moment(
            "created_before", request.created_before if request.HasField("created_before") else None, bad
        ),
        request_id=request.request_id,
        tags=_tags(request.tags, bad),
        metadata=read_metadata(request.metadata, bad),
    )
    bad.line("provider", request.provider, longest=LONGEST_PROVIDER)
    if request.request_id:
        check_request_id(request.request_id, bad)
    bad.check()
    return query


def _tags(values: Mapping[str, str], bad: Violations) -> dict[str, str]:
    if not values:
        return {}
    return bad.repaired_mapping("tags", values, most=MOST_TAGS, key=LONGEST_LABEL, value=LONGEST_LABEL)


def _states(request: pb.ListMessagesRequest, bad: Violations) -> tuple[MessageState, ...]:
    if len(request.states) > MOST_STATES:
        bad.add("states", f"has {len(request.states)} entries, at most {MOST_STATES} are allowed")
        return ()
    if not all(s in _STATES for s in request.states):
        bad.add("states", "holds an unknown state")
    return tuple(_STATES[s] for s in request.states if s in _STATES)


def _moment(field: str, value: Timestamp | None, bad: Violations) -> datetime | None:
    try:
        return None if value is None else value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        bad.add(field, "is not a time from the years 1 to 9999")
        return None
