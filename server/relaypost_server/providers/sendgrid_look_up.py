"""Finds an email in SendGrid's Email Activity, which is an add-on of an account.

Contract: docs.sendgrid.com, "Getting Started with the Email Activity Feed API". Custom arguments are called
`unique_args` there. The API takes 6 questions a minute.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any

import orjson
from python_http_client.exceptions import HTTPError

from relaypost_server.core.delivery import DeliveryEvent, EventType
from relaypost_server.core.look_ups import Doubt, LookUpError
from relaypost_server.providers._receipts import MESSAGE_ID, mapping, only

PAUSE = 15.0
"""Seconds between two questions."""
MOST_RECIPIENTS = 50
_TYPES = {
    "processed": EventType.SENT,
    "processing": EventType.SENT,
    "delivered": EventType.DELIVERED,
    "not_delivered": EventType.FAILED,
}
"""Whatever another status means, SendGrid has the message."""
_KEPT = ("msg_id", "status", "last_event_time")


def find(api: Any, doubt: Doubt, timeout: float) -> Sequence[DeliveryEvent]:
    """An event for each recipient; blocking. Raises LookUpError."""
    query = f"(unique_args['{MESSAGE_ID}']=\"{doubt.message_id}\")"
    try:
        answer = api.client.messages.get(query_params={"query": query, "limit": MOST_RECIPIENTS}, timeout=timeout)
        listed = mapping(orjson.loads(answer.body)).get("messages")
    except HTTPError as error:
        raise LookUpError(f"SendGrid answered HTTP {error.status_code}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise LookUpError(type(error).__name__) from error
    if not isinstance(listed, list):
        raise LookUpError("SendGrid answered without a list")
    return [_event(mapping(item), doubt) for item in listed if isinstance(mapping(item).get("msg_id"), str)]


def _event(item: Mapping[str, Any], doubt: Doubt) -> DeliveryEvent:
    status = str(item.get("status", ""))
    return DeliveryEvent(
        provider="sendgrid",
        event_id=f"{item['msg_id']} {status}",
        message_id=doubt.message_id,
        provider_message_id=item["msg_id"].partition(".")[0],
        type=_TYPES.get(status, EventType.SENT),
        time=_time(item.get("last_event_time")) or doubt.start_time,
        provider_code=status,
        raw=only(item, _KEPT),
    )


def _time(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(text if isinstance(text, str) else "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
