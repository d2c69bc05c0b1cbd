"""Reads what is asked of WebhookService."""

import base64
import binascii
import json
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from relaypost.v1 import webhook_service_pb2 as pb

from relaypost_server.api.violations import Violations
from relaypost_server.core.webhook import EVENT_TYPES, Delivery, DeliveryQuery, DeliveryState
from relaypost_server.core.webhook_targets import TargetPolicy
from relaypost_server.webhooks.urls import UrlError, read_url

DEFAULT_PAGE, LARGEST_PAGE = 50, 500
MOST_EVENT_TYPES = 20
LONGEST_DESCRIPTION = 200
LONGEST_GRACE = 7 * 86_400
"""Seconds."""
STATES = {s: pb.WebhookDeliveryState.Value(f"WEBHOOK_DELIVERY_STATE_{s.name}") for s in DeliveryState}
_STATES = {packed: state for state, packed in STATES.items()}


def read_target(text: str, policy: TargetPolicy, bad: Violations) -> str:
    """The URL in the form in which it will be used."""
    if not text:
        bad.add("url", "is required")
        return ""
    try:
        return str(read_url(text, policy))
    except UrlError as error:
        bad.add("url", str(error))
        return ""


def read_event_types(request: pb.CreateWebhookEndpointRequest, bad: Violations) -> tuple[str, ...]:
    """Each once, in the order in which they were given."""
    if len(request.event_types) > MOST_EVENT_TYPES:
        bad.add("event_types", f"has {len(request.event_types)} entries, at most {MOST_EVENT_TYPES} are allowed")
    elif not all(t in EVENT_TYPES for t in request.event_types):
        bad.add("event_types", "holds what is no type of event; one is message.delivered")
    return tuple(dict.fromkeys(request.event_types))


def read_id(field: str, value: str, bad: Violations) -> str:
    """The id in its canonical form."""
    try:
        return str(UUID(value))
    except ValueError:
        bad.add(field, "is not an id of ours" if value else "is required")
        return ""


def read_grace(value: Duration | None, bad: Violations) -> float | None:
    """Seconds."""
    if value is None:
        return None
    seconds = value.seconds + value.nanos / 1e9
    if not 0 <= seconds <= LONGEST_GRACE:
        bad.add("grace", "must be from 0 to 7 days")
    return seconds


def read_query(request: pb.ListWebhookDeliveriesRequest, caller: str, bad: Violations) -> DeliveryQuery:
    if not 0 <= request.page_size <= LARGEST_PAGE:
        bad.add("page_size", f"must be from 1 to {LARGEST_PAGE}, or 0 for {DEFAULT_PAGE}")
    if request.state and request.state not in _STATES:
        bad.add("state", "is not a known state")
    return DeliveryQuery(
        caller=caller,
        page_size=request.page_size or DEFAULT_PAGE,
        before=_place(request.page_token, bad),
        endpoint_id=read_id("endpoint_id", request.endpoint_id, bad) if request.endpoint_id else None,
        state=_STATES.get(request.state),
    )


def page_token(last: Delivery) -> str:
    """What names the page after this delivery."""
    place = json.dumps([last.create_time.isoformat(), last.id])
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _place(token: str, bad: Violations) -> tuple[datetime, str] | None:
    if not token:
        return None
    try:
        time, delivery_id = json.loads(base64.b64decode(token + "==", altchars=b"-_", validate=True))
        return datetime.fromisoformat(time).astimezone(UTC), str(UUID(delivery_id))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, binascii.Error):
        bad.add("page_token", "is not a token of ours")
        return None
