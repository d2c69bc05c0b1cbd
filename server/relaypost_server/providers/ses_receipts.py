"""Receipts of Amazon SES, which publishes its events to a topic of SNS.

Contract: docs.aws.amazon.com/ses, "Examples of event data that Amazon SES
publishes to Amazon SNS".
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from relaypost_server.core.delivery import DeliveryEvent, EventType, RejectReason
from relaypost_server.core.ports import CallbackRefusedError, Disbelief
from relaypost_server.core.suppression import SuppressionReason
from relaypost_server.providers import ses_bounces
from relaypost_server.providers._receipts import MESSAGE_ID, addresses, iso_time, json_of, mapping, only, ours

LARGEST_CALLBACK = 512 * 1024
"""Bytes: SNS carries 256 KiB, which JSON's escapes make longer."""
_TYPES = {
    "Send": EventType.SENT,
    "Delivery": EventType.DELIVERED,
    "DeliveryDelay": EventType.DEFERRED,
    "Bounce": EventType.BOUNCED,
    "Complaint": EventType.COMPLAINED,
    "Reject": EventType.FAILED,
    "Rendering Failure": EventType.FAILED,
    "Open": EventType.OPENED,
    "Click": EventType.CLICKED,
    "Subscription": EventType.UNSUBSCRIBED,
}
_BOUNCE_REASONS = {
    "NoEmail": RejectReason.INVALID,
    "Suppressed": RejectReason.BLOCKED,
    "OnAccountSuppressionList": RejectReason.BLOCKED,
    "ContentRejected": RejectReason.BLOCKED,
    "AttachmentRejected": RejectReason.BLOCKED,
}
_NAMING = ("bouncedRecipients", "complainedRecipients", "delayedRecipients", "recipients")
"""Lists of recipients in events: of objects with an address, or (of a delivery) of addresses."""
_BY_ONE = frozenset([EventType.OPENED, EventType.CLICKED, EventType.OTHER])
"""Of several recipients SES does not tell who it was."""
_ABOUT_MAIL = ("timestamp", "messageId", "source", "destination", "tags")
_ABOUT_EVENT = (
    "timestamp",
    "processingTimeMillis",
    "recipients",
    "smtpResponse",
    "reportingMTA",
    "remoteMtaIp",
    "bounceType",
    "bounceSubType",
    "bouncedRecipients",
    "complainedRecipients",
    "complaintFeedbackType",
    "complaintSubType",
    "feedbackId",
    "delayType",
    "delayedRecipients",
    "expirationTime",
    "reason",
    "errorMessage",
    "templateName",
    "userAgent",
)
"""Everything but links: a link in an email may be a secret."""


def events_of(notification: Mapping[str, Any]) -> Sequence[DeliveryEvent]:
    """The events of a notification; none where it belongs to another sender of the account.

    A bounce is two events where it is permanent for some recipients and not for others. Raises CallbackRefusedError.
    """
    event = mapping(json_of(notification["Message"]) if notification["Message"].startswith("{") else None)
    mail = mapping(event.get("mail"))
    message_id = _message_id(mail)
    if message_id is None:
        return []
    name = str(event.get("eventType") or event.get("notificationType") or "")
    about = _about(event, name)
    if not isinstance(mail.get("messageId"), str):
        raise CallbackRefusedError(Disbelief.MALFORMED)
    kind = _TYPES.get(name, EventType.OTHER)
    event_of_all = DeliveryEvent(
        provider="ses",
        event_id=notification["MessageId"],
        message_id=message_id,
        provider_message_id=mail["messageId"],
        type=kind,
        time=iso_time(about.get("timestamp") or notification["Timestamp"]),
        reject_reason=_reason(kind, about),
        provider_code=name,
        detail=_detail(about),
        recipients=_recipients(kind, about, mail),
        suppression=_suppression(kind, about),
        raw={"eventType": name, "mail": only(mail, _ABOUT_MAIL), "event": only(about, _ABOUT_EVENT)},
    )
    return _bounces(event_of_all, about) if kind is EventType.BOUNCED else [event_of_all]


def _bounces(event: DeliveryEvent, about: Mapping[str, Any]) -> Sequence[DeliveryEvent]:
    """The event for those who are gone, and the event for those whom a later message may reach."""
    said_permanent = about.get("bounceType") == "Permanent"
    parts = ses_bounces.parts(about) or [ses_bounces.Bounced(event.recipients, said_permanent, False, event.detail)]
    return [
        replace(
            event,
            # A bounce of one part keeps the id of its notification; the second part needs one of its own.
            event_id=event.event_id if part is parts[0] else f"{event.event_id}/temporary",
            permanent=part.permanent,
            reject_reason=RejectReason.INVALID if part.permanent and part.outweighed else event.reject_reason,
            provider_code=f"{about.get('bounceType')}/{about.get('bounceSubType')}",
            detail=part.detail or event.detail,
            recipients=part.recipients,
            suppression=SuppressionReason.BOUNCED if part.permanent else None,
        )
        for part in parts
    ]


def _recipients(kind: EventType, about: Mapping[str, Any], mail: Mapping[str, Any]) -> tuple[str, ...]:
    """Those whom the event names, else all of the message; none where it was one of several."""
    for name in _NAMING:
        if isinstance(about.get(name), list):
            return addresses(mapping(entry).get("emailAddress", entry) for entry in about[name])
    destination = mail.get("destination")
    everyone = addresses(destination) if isinstance(destination, list) else ()
    return () if kind in _BY_ONE and len(everyone) > 1 else everyone


def _suppression(kind: EventType, about: Mapping[str, Any]) -> SuppressionReason | None:
    match kind:
        case EventType.COMPLAINED if about.get("complaintFeedbackType") != "not-spam":
            return SuppressionReason.COMPLAINED
        case EventType.UNSUBSCRIBED if mapping(about.get("newTopicPreferences")).get("unsubscribeAll") is True:
            return SuppressionReason.UNSUBSCRIBED
    return None


def _message_id(mail: Mapping[str, Any]) -> str | None:
    values = mapping(mail.get("tags")).get(MESSAGE_ID)
    return ours(values[0]) if isinstance(values, list) and values else None


def _about(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The part of the event that bears its name: "deliveryDelay" for "DeliveryDelay"."""
    return mapping(event.get("failure" if name == "Rendering Failure" else name[:1].lower() + name[1:]))


def _reason(kind: EventType, about: Mapping[str, Any]) -> RejectReason | None:
    match kind:
        case EventType.BOUNCED:
            return _BOUNCE_REASONS.get(str(about.get("bounceSubType")), RejectReason.BOUNCED)
        case EventType.COMPLAINED:
            return RejectReason.SPAM
        case EventType.FAILED:
            return RejectReason.BLOCKED if about.get("reason") == "Bad content" else RejectReason.OTHER
    return None


def _detail(about: Mapping[str, Any]) -> str:
    """The first that says anything: what a server answered, or why SES gave up."""
    delayed = about.get("delayedRecipients")
    said = ses_bounces.detail([mapping(item) for item in delayed]) if isinstance(delayed, list) else ""
    if said:
        return said
    names = ("smtpResponse", "reason", "errorMessage", "complaintFeedbackType", "delayType")
    return next((str(about[name]) for name in names if about.get(name)), "")
