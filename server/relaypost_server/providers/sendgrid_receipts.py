"""Receipts of SendGrid: its Event Webhook.

Contract: docs.sendgrid.com, "Event Webhook Reference" and "Getting Started with
the Event Webhook Security Features".
"""

import asyncio
from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from sendgrid import EventWebhook

from relaypost_server.core.delivery import DeliveryEvent, EventType, RejectReason
from relaypost_server.core.ports import Callback, CallbackRefusedError, Disbelief
from relaypost_server.core.suppression import SuppressionReason
from relaypost_server.providers._receipts import (
    MESSAGE_ID,
    addresses,
    check_time,
    json_of,
    mapping,
    only,
    ours,
    unix_time,
)

LARGEST_CALLBACK = 16 * 1024 * 1024
"""Bytes; a batch of 10,000 events has some 5 MiB."""
_LARGE = 64 * 1024
"""Bytes of a batch that takes longer to read than a thread costs."""
_SIGNATURE = "x-twilio-email-event-webhook-signature"
_TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
_TYPES = {
    "processed": EventType.SENT,
    "delivered": EventType.DELIVERED,
    "deferred": EventType.DEFERRED,
    "bounce": EventType.BOUNCED,
    "dropped": EventType.FAILED,
    "spamreport": EventType.COMPLAINED,
    "open": EventType.OPENED,
    "click": EventType.CLICKED,
    "unsubscribe": EventType.UNSUBSCRIBED,
    "group_unsubscribe": EventType.UNSUBSCRIBED,
}
_DROP_REASONS = {
    "Invalid": RejectReason.INVALID,
    "Bounced Address": RejectReason.BOUNCED,
    "Unsubscribed Address": RejectReason.UNSUBSCRIBED,
    "Spam Reporting Address": RejectReason.SPAM,
    "Spam Content": RejectReason.SPAM,
    "Recipient List over Package Quota": RejectReason.BLOCKED,
}
_BOUNCE_REASONS = {"blocked": RejectReason.BLOCKED, "expired": RejectReason.TIMED_OUT}
_SUPPRESSING = {
    "bounce": SuppressionReason.BOUNCED,
    "spamreport": SuppressionReason.COMPLAINED,
    "unsubscribe": SuppressionReason.UNSUBSCRIBED,
}
"""A `group_unsubscribe` is about one kind of messages alone."""
_SUPPRESSING_DROPS = {
    "Invalid": SuppressionReason.BOUNCED,
    "Bounced Address": SuppressionReason.BOUNCED,
    "Spam Reporting Address": SuppressionReason.COMPLAINED,
    "Unsubscribed Address": SuppressionReason.UNSUBSCRIBED,
}
"""Reasons for which SendGrid itself has the address on a list."""
_KEPT = (
    "email",
    "timestamp",
    "event",
    "smtp-id",
    "sg_event_id",
    "sg_message_id",
    "category",
    "reason",
    "status",
    "response",
    "attempt",
    "type",
    "bounce_classification",
    "tls",
    "cert_err",
    "useragent",
    "sg_machine_open",
    "asm_group_id",
    MESSAGE_ID,
)
"""Everything but links: a link in an email may be a secret."""


def check_head(head: Callback, window: float) -> None:
    """Raises CallbackRefusedError where the headers hold no fresh signature, whatever it may sign."""
    signature, timestamp = head.headers.get(_SIGNATURE), head.headers.get(_TIMESTAMP)
    if not signature or not timestamp:
        raise CallbackRefusedError(Disbelief.UNSIGNED)
    try:
        decode_dss_signature(b64decode(signature, validate=True))
    except ValueError:
        raise CallbackRefusedError(Disbelief.FORGED) from None
    check_time(unix_time(timestamp), head.receive_time, window)


async def read_batch(callback: Callback, public_key: str, window: float) -> Sequence[DeliveryEvent]:
    """The events of a signed batch; those that belong to other senders of the account are left out.

    Raises CallbackRefusedError.
    """
    if len(callback.body) < _LARGE:
        return _read(callback, public_key, window)
    return await asyncio.to_thread(_read, callback, public_key, window)


def _read(callback: Callback, public_key: str, window: float) -> Sequence[DeliveryEvent]:
    _verify(callback, public_key, window)
    batch = json_of(callback.body)
    if not isinstance(batch, list):
        raise CallbackRefusedError(Disbelief.MALFORMED)
    return [made for item in batch if (made := _event(mapping(item), callback.receive_time)) is not None]


def _verify(callback: Callback, public_key: str, window: float) -> None:
    signature, timestamp = callback.headers.get(_SIGNATURE), callback.headers.get(_TIMESTAMP)
    if not signature or not timestamp:
        raise CallbackRefusedError(Disbelief.UNSIGNED)
    try:
        genuine = EventWebhook(public_key).verify_signature(callback.body.decode(), signature, timestamp)
    except ValueError:  # Neither UTF-8 nor base64.
        genuine = False
    if not genuine:
        raise CallbackRefusedError(Disbelief.FORGED)
    check_time(unix_time(timestamp), callback.receive_time, window)


def _event(item: Mapping[str, Any], receive_time: datetime) -> DeliveryEvent | None:
    message_id, event_id = ours(item.get(MESSAGE_ID)), item.get("sg_event_id")
    if message_id is None or not isinstance(event_id, str):
        return None
    name = str(item.get("event", ""))
    kind = _TYPES.get(name, EventType.OTHER)
    return DeliveryEvent(
        provider="sendgrid",
        event_id=event_id,
        message_id=message_id,
        # "<X-Message-Id>.filter..." or "<X-Message-Id>.recvd...": what follows the dot is SendGrid's own.
        provider_message_id=str(item.get("sg_message_id", "")).partition(".")[0],
        type=kind,
        time=_time(item, receive_time),
        reject_reason=_reason(kind, item),
        permanent=kind is not EventType.BOUNCED or item.get("type") not in _BOUNCE_REASONS,
        provider_code=str(item.get("status") or item.get("type") or name),
        detail=str(item.get("reason") or item.get("response") or ""),
        recipients=addresses([item.get("email")]),
        suppression=_suppression(name, item),
        raw=only(item, _KEPT),
    )


def _suppression(name: str, item: Mapping[str, Any]) -> SuppressionReason | None:
    if name == "dropped":
        return _SUPPRESSING_DROPS.get(str(item.get("reason")))
    if name == "bounce" and item.get("type") in _BOUNCE_REASONS:
        return None
    return _SUPPRESSING.get(name)


def _time(item: Mapping[str, Any], receive_time: datetime) -> datetime:
    """One event without a good time must not take the rest of its batch with it."""
    try:
        return unix_time(item.get("timestamp"))
    except CallbackRefusedError:
        return receive_time


def _reason(kind: EventType, item: Mapping[str, Any]) -> RejectReason | None:
    match kind:
        case EventType.BOUNCED:
            return _BOUNCE_REASONS.get(str(item.get("type")), RejectReason.BOUNCED)
        case EventType.FAILED:
            return _DROP_REASONS.get(str(item.get("reason")), RejectReason.OTHER)
        case EventType.COMPLAINED:
            return RejectReason.SPAM
        case EventType.UNSUBSCRIBED:
            return RejectReason.UNSUBSCRIBED
    return None
