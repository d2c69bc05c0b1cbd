"""Reads what is asked of SuppressionService."""

import base64
import binascii
import json
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from relaypost.v1 import suppression_service_pb2 as pb

from relaypost_server.api.addresses import read_recipient
from relaypost_server.api.violations import Violations
from relaypost_server.core.suppression import (
    EVERY_CALLER,
    LONGEST_NOTE,
    Suppression,
    SuppressionQuery,
    SuppressionReason,
    SuppressionSource,
    comparable,
)

DEFAULT_PAGE, LARGEST_PAGE = 50, 500
LONGEST_PROVIDER = 64
REASONS = {
    pb.SUPPRESSION_REASON_UNSPECIFIED: SuppressionReason.MANUAL,
    **{pb.SuppressionReason.Value(f"SUPPRESSION_REASON_{r.name}"): r for r in SuppressionReason},
}
SOURCES = {
    pb.SUPPRESSION_SOURCE_UNSPECIFIED: SuppressionSource.MANUAL,
    **{pb.SuppressionSource.Value(f"SUPPRESSION_SOURCE_{s.name}"): s for s in SuppressionSource},
}


def read_suppression(entry: pb.Suppression, caller: str, now: datetime, bad: Violations) -> Suppression:
    """The entry; its complaints are added to `bad`, and it must not be used if there are any."""
    bad.line("note", entry.note, longest=LONGEST_NOTE)
    bad.line("provider", entry.provider, longest=LONGEST_PROVIDER)
    if entry.reason not in REASONS:
        bad.add("reason", "is not a known reason")
    if entry.source not in SOURCES:
        bad.add("source", "is not a known source")
    expire_time = _moment("expire_time", entry.expire_time, bad) if entry.HasField("expire_time") else None
    if expire_time is not None and expire_time <= now:
        bad.add("expire_time", "is over already")
    created = _moment("create_time", entry.create_time, bad) if entry.HasField("create_time") else None
    return Suppression(
        address=read_address(entry.address, bad),
        caller=EVERY_CALLER if entry.all_callers else caller,
        reason=REASONS.get(entry.reason, SuppressionReason.MANUAL),
        source=SOURCES.get(entry.source, SuppressionSource.MANUAL),
        provider=entry.provider,
        message_id=_message_id(entry.message_id, bad),
        note=entry.note,
        create_time=created or now,
        expire_time=expire_time,
    )


def read_address(value: str, bad: Violations) -> str:
    """The address as addresses are compared."""
    if not value:
        bad.add("address", "is required")
        return ""
    return comparable(read_recipient("address", value, bad))


def read_query(request: pb.ListSuppressionsRequest, caller: str, bad: Violations) -> SuppressionQuery:
    """Which entries to list."""
    if not 0 <= request.page_size <= LARGEST_PAGE:
        bad.add("page_size", f"must be from 1 to {LARGEST_PAGE}, or 0 for {DEFAULT_PAGE}")
    bad.line("provider", request.provider, longest=LONGEST_PROVIDER)
    if request.reason not in REASONS:
        bad.add("reason", "is not a known reason")
    if request.source not in SOURCES:
        bad.add("source", "is not a known source")
    return SuppressionQuery(
        callers=(caller, EVERY_CALLER),
        page_size=request.page_size or DEFAULT_PAGE,
        after=_cursor(request.page_token, bad),
        address=read_address(request.address, bad) if request.address else "",
        reason=REASONS.get(request.reason) if request.reason else None,
        source=SOURCES.get(request.source) if request.source else None,
        provider=request.provider,
    )


def page_token(last: Suppression) -> str:
    """What names the page after this entry."""
    place = json.dumps([last.address, last.caller]).encode()
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def _cursor(token: str, bad: Violations) -> tuple[str, str] | None:
    if not token:
        return None
    try:
        padded = token + "=" * (-len(token) % 4)
        address, caller = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if isinstance(address, str) and isinstance(caller, str) and (address + caller).isprintable():
            return address, caller
    except (ValueError, TypeError, binascii.Error, RecursionError):
        pass
    bad.add("page_token", "is not a token of ours")
    return None


def _message_id(value: str, bad: Violations) -> str:
    try:
        return str(UUID(value)) if value else ""
    except ValueError:
        bad.add("message_id", "is not a message id")
        return ""


def _moment(field: str, value: Timestamp, bad: Violations) -> datetime | None:
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        bad.add(field, "is not a time from the years 1 to 9999")
        return None
