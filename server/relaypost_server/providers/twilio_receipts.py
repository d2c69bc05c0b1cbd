"""Receipts of Twilio: its status callbacks.

Contract: twilio.com/docs/messaging, "Track the message status of outbound
messages"; error codes 30001 to 30999: twilio.com/docs/api/errors.
"""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from twilio.request_validator import RequestValidator

from relaypost_server.core.delivery import EVENT_ID_LIMIT, DeliveryEvent, EventType, RejectReason
from relaypost_server.core.ports import Callback, CallbackRefusedError, Disbelief
from relaypost_server.core.redaction import printable
from relaypost_server.core.suppression import Reply, SuppressionReason
from relaypost_server.providers._receipts import addresses, only, ours

LARGEST_CALLBACK = 64 * 1024
"""Bytes."""
_MOST_FIELDS = 100
_SIGNATURE = "x-twilio-signature"
_SIGNATURE_BYTES = 20
_TYPES = {
    "accepted": EventType.SENT,
    "scheduled": EventType.SENT,
    "queued": EventType.SENT,
    "sending": EventType.SENT,
    "sent": EventType.SENT,
    "delivered": EventType.DELIVERED,
    "read": EventType.OPENED,
    "canceled": EventType.FAILED,
    "failed": EventType.BOUNCED,
    "undelivered": EventType.BOUNCED,
}
_PERMANENT = {
    "30004": RejectReason.BLOCKED,
    "30005": RejectReason.INVALID,
    "30006": RejectReason.INVALID,
    "30007": RejectReason.SPAM,
    "30010": RejectReason.OTHER,
    "30011": RejectReason.OTHER,
    "30019": RejectReason.OTHER,
}
OPTED_OUT = "21610"
"""The recipient answered STOP to the number or Messaging Service that sends."""
_SUPPRESSING = {
    "30004": SuppressionReason.BOUNCED,
    "30005": SuppressionReason.BOUNCED,
    "30006": SuppressionReason.BOUNCED,
    OPTED_OUT: SuppressionReason.UNSUBSCRIBED,
}
"""Codes that tell of the number; the other permanent ones tell of the message."""
_STOP = frozenset(["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"])
_START = frozenset(["START", "YES", "UNSTOP"])
"""Words that Twilio obeys where they are all of a message: "Twilio support for opt-out keywords"."""
_TWILIOS_OWN = frozenset(["30001", "30002", "30008", "30017", "30022", "30023", "30027", "30500"])
"""The message never reached a carrier, or nobody can say why it failed."""
_REGISTRATION = frozenset(["30018", "30024", "30032", "30033", "30034", "30035"])
"""The sender lacks a registration: no message of it will arrive."""
_KEPT = (
    "MessageSid",
    "MessageStatus",
    "To",
    "From",
    "MessagingServiceSid",
    "ErrorCode",
    "ErrorMessage",
    "ChannelStatusMessage",
    "RawDlrDoneDate",
    "ApiVersion",
)


def callback_url(public_url: str, message_id: str) -> str:
    """Where Twilio reports on a message."""
    return f"{public_url}/callbacks/twilio?message_id={message_id}"


def check_head(head: Callback) -> None:
    """Raises CallbackRefusedError where no header can be a signature of Twilio's."""
    signature = head.headers.get(_SIGNATURE)
    if not signature:
        raise CallbackRefusedError(Disbelief.UNSIGNED)
    try:
        digest = b64decode(signature, validate=True)
    except ValueError:
        digest = b""
    if len(digest) != _SIGNATURE_BYTES:
        raise CallbackRefusedError(Disbelief.FORGED)


def is_reply(head: Callback) -> bool:
    """Whether a callback can only bring what a person wrote: receipts bear the id of their message."""
    return not urlsplit(head.path).query


def read_form(callback: Callback, public_url: str, token: str) -> Sequence[DeliveryEvent]:
    """The event of a status callback; none where it tells of no message of a gateway.

    Raises CallbackRefusedError.
    """
    form = _verified(callback, public_url, token)
    message_id = ours(parse_qs(urlsplit(callback.path).query).get("message_id", [""])[0])
    if message_id is None:
        return []
    sid, status = form.get("MessageSid"), form.get("MessageStatus")
    if not sid or not status:
        raise CallbackRefusedError(Disbelief.MALFORMED)
    return [
        status_event(
            message_id,
            sid=sid,
            status=status,
            code=form.get("ErrorCode", ""),
            detail=form.get("ErrorMessage", ""),
            to=form.get("To", ""),
            time=callback.receive_time,  # Twilio tells none.
            raw=only(form, _KEPT),
        )
    ]


def status_event(
    message_id: str, *, to: str, sid: str, status: str, code: str, detail: str, time: datetime, raw: Mapping[str, Any]
) -> DeliveryEvent:
    """The event that a message of Twilio has this status; the same one, however it became known."""
    kind, reason = _classify(status, code)
    return DeliveryEvent(
        provider="twilio",
        event_id=f"{sid} {status}",
        message_id=message_id,
        provider_message_id=sid,
        type=kind,
        time=time,
        reject_reason=reason,
        permanent=kind is not EventType.BOUNCED or code in _PERMANENT,
        provider_code=code or status,
        detail=detail,
        alert=code in _REGISTRATION,
        recipients=addresses([to]),
        suppression=_SUPPRESSING.get(code) if kind is EventType.BOUNCED else None,
        raw=raw,
    )


def read_reply(callback: Callback, public_url: str, token: str) -> Reply | None:
    """What a person wrote; None where the callback is a receipt. Raises CallbackRefusedError."""
    if not is_reply(callback):
        return None
    form = _verified(callback, public_url, token)
    if form.get("SmsStatus") != "received":
        return None
    [sender] = addresses([form.get("From")]) or ("",)
    if not sender:
        raise CallbackRefusedError(Disbelief.MALFORMED)
    # With Advanced Opt-Out Twilio says itself what it made of the message, in whatever language it was.
    word = (form.get("OptOutType") or form.get("Body", "")).strip().upper()
    wants = True if word in _START else False if word in _STOP else None
    sid = printable(form.get("MessageSid", ""), limit=EVENT_ID_LIMIT)
    if not sid:
        raise CallbackRefusedError(Disbelief.MALFORMED)
    return Reply(provider="twilio", id=sid, address=sender, wants_messages=wants)


def _verified(callback: Callback, public_url: str, token: str) -> Mapping[str, str]:
    """The form, if Twilio signed it. A field that comes twice is not Twilio's."""
    signature = callback.headers.get(_SIGNATURE)
    if not signature:
        raise CallbackRefusedError(Disbelief.UNSIGNED)
    try:
        fields = parse_qsl(callback.body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise CallbackRefusedError(Disbelief.MALFORMED) from None
    form = dict(fields)
    if len(form) != len(fields):
        raise CallbackRefusedError(Disbelief.MALFORMED)
    if not RequestValidator(token).validate(public_url + callback.path, form, signature):
        raise CallbackRefusedError(Disbelief.FORGED)
    return form


def _classify(status: str, code: str) -> tuple[EventType, RejectReason | None]:
    kind = _TYPES.get(status, EventType.OTHER)
    if kind is not EventType.BOUNCED:
        return kind, None
    if code in _REGISTRATION:
        return EventType.FAILED, RejectReason.BLOCKED
    if code in _TWILIOS_OWN:
        return EventType.FAILED, RejectReason.OTHER
    return kind, _PERMANENT.get(code, RejectReason.TIMED_OUT if code == "30003" else RejectReason.OTHER)
