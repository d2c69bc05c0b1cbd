"""Reads a text message out of a request."""

import re

from relaypost.v1 import sms_pb2

from relaypost_server.api.phones import read_phone
from relaypost_server.api.rendering import check_no_template, rendered
from relaypost_server.api.violations import Violations
from relaypost_server.core.message import Sms, SmsType
from relaypost_server.core.money import Money
from relaypost_server.core.ports import Renderer

LONGEST_TEXT = 1600
_SENDER_ID = re.compile(r"(?=[0-9]*[A-Za-z])[A-Za-z0-9]{3,11}")
_TYPES = {
    sms_pb2.SMS_MESSAGE_TYPE_UNSPECIFIED: SmsType.TRANSACTIONAL,
    sms_pb2.SMS_MESSAGE_TYPE_TRANSACTIONAL: SmsType.TRANSACTIONAL,
    sms_pb2.SMS_MESSAGE_TYPE_PROMOTIONAL: SmsType.PROMOTIONAL,
}


def read_sms(sms: sms_pb2.Sms, templates: Renderer, bad: Violations) -> Sms:
    """The text message; its complaints are added to `bad`, and it must not be used if there are any."""
    phone = read_phone("sms.to", sms.to, "sms.region_code", sms.region_code, bad)
    text = _rendered(sms, templates, bad) if sms.template else _text(sms, bad)
    if sms.sender_id and not _SENDER_ID.fullmatch(sms.sender_id):
        bad.add("sms.sender_id", "must have 3 to 11 letters and digits, at least one letter")
    if sms.message_type not in _TYPES:
        bad.add("sms.message_type", "is not a known type")
    return Sms(
        to=phone.number,
        country=phone.country,
        text=text,
        sender_id=sms.sender_id,
        type=_TYPES.get(sms.message_type, SmsType.TRANSACTIONAL),
        max_price=_max_price(sms, bad),
    )


def _rendered(sms: sms_pb2.Sms, templates: Renderer, bad: Violations) -> str:
    made = rendered("sms", sms, templates.sms, bad, words={"text": sms.text})
    return made.text if made else ""


def _text(sms: sms_pb2.Sms, bad: Violations) -> str:
    check_no_template("sms", sms, bad)
    if not sms.text.strip():
        bad.add("sms.text", "is required")
    elif len(sms.text) > LONGEST_TEXT:
        bad.add("sms.text", f"has {len(sms.text)} characters, at most {LONGEST_TEXT} are allowed")
    else:
        bad.prose("sms.text", sms.text, most_bytes=4 * LONGEST_TEXT)
    return sms.text


def _max_price(sms: sms_pb2.Sms, bad: Violations) -> Money | None:
    if not sms.HasField("max_price"):
        return None
    if sms.max_price.currency_code != "USD":
        bad.add("sms.max_price.currency_code", "must be USD")
    if sms.max_price.micros <= 0:
        bad.add("sms.max_price.micros", "must be greater than 0")
    return Money(micros=sms.max_price.micros)
