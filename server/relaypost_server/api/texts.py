"""Reads a text message out of a request."""

import re

from relaypost.v1 import sms_pb2

from relaypost_server.api.addresses import read_phone
from relaypost_server.api.rendering import check_no_template, rendered
from relaypost_server.api.senders import read_sender_id, read_sender_number
from relaypost_server.api.violations import Violations
from relaypost_server.core.adjustments import AdjustmentKind
from relaypost_server.core.characters import counted
from relaypost_server.core.gsm7 import to_gsm7
from relaypost_server.core.message import IndiaDlt, Sms, SmsType
from relaypost_server.core.money import Money
from relaypost_server.core.ports import Renderer
from relaypost_server.core.segments import is_gsm7

LONGEST_TEXT = 1600
_DLT_ID = re.compile(r"[A-Za-z0-9]{1,30}")
_AS_IS = frozenset({sms_pb2.SMS_ENCODING_UNSPECIFIED, sms_pb2.SMS_ENCODING_AS_IS})
_TYPES = {
    sms_pb2.SMS_MESSAGE_TYPE_UNSPECIFIED: SmsType.TRANSACTIONAL,
    sms_pb2.SMS_MESSAGE_TYPE_TRANSACTIONAL: SmsType.TRANSACTIONAL,
    sms_pb2.SMS_MESSAGE_TYPE_PROMOTIONAL: SmsType.PROMOTIONAL,
}


def read_sms(sms: sms_pb2.Sms, templates: Renderer, bad: Violations) -> Sms:
    """The text message; its complaints are added to `bad`, and it must not be used if there are any."""
    phone = read_phone("sms.to", sms.to, "sms.region_code", sms.region_code, bad)
    text = _rendered(sms, templates, bad) if sms.template else _text(sms, bad)
    if sms.encoding not in _AS_IS and len(text) <= LONGEST_TEXT:
        text = _encoded(sms, text, bad)
    if sms.sender_id and sms.sender_number:
        bad.add("sms.sender_number", "must not be set beside sender_id: give one or the other")
    if sms.message_type not in _TYPES:
        bad.add("sms.message_type", "is not a known type")
    return Sms(
        to=phone.number,
        country=phone.country,
        text=text,
        sender_id=read_sender_id("sms.sender_id", sms.sender_id, bad) if sms.sender_id else "",
        sender_number=read_sender_number("sms.sender_number", sms.sender_number, bad) if sms.sender_number else "",
        type=_TYPES.get(sms.message_type, SmsType.TRANSACTIONAL),
        max_price=_max_price(sms, bad),
        india_dlt=_india_dlt(sms.india_dlt, bad) if sms.HasField("india_dlt") else None,
    )


def _rendered(sms: sms_pb2.Sms, templates: Renderer, bad: Violations) -> str:
    made = rendered("sms", sms, templates.sms, bad, words={"text": sms.text})
    return made.text if made else ""


def _text(sms: sms_pb2.Sms, bad: Violations) -> str:
    check_no_template("sms", sms, bad)
    if len(sms.text) > LONGEST_TEXT:
        bad.add("sms.text", f"has {len(sms.text)} characters, at most {LONGEST_TEXT} are allowed")
        return sms.text
    text = bad.repaired_prose("sms.text", sms.text, most_bytes=4 * LONGEST_TEXT)
    if not text.strip():
        bad.add("sms.text", "is required")
    return text


def _encoded(sms: sms_pb2.Sms, text: str, bad: Violations) -> str:
    """The text in the characters of GSM-7, as far as it has such ones."""
    if sms.encoding != sms_pb2.SMS_ENCODING_GSM7:
        bad.add("sms.encoding", "is not a known encoding")
        return text
    made, replaced = to_gsm7(text)
    if replaced:
        rest = "" if is_gsm7(made) else "; others stay, so the text is sent in UCS-2"
        what = f"{counted(replaced, 'character')} replaced by GSM-7's, or dropped{rest}"
        bad.adjusted("sms.text", AdjustmentKind.REPLACED, what)
    if text and not made.strip():
        bad.add("sms.text", "is required: nothing of it can be seen")
    if len(made) > LONGEST_TEXT:
        bad.add("sms.text", f"has {len(made)} characters in GSM-7, at most {LONGEST_TEXT} are allowed")
    return made


def _india_dlt(given: sms_pb2.IndiaDlt, bad: Violations) -> IndiaDlt:
    for name, value in (("entity_id", given.entity_id), ("template_id", given.template_id)):
        if not _DLT_ID.fullmatch(value):
            complaint = "must have 1 to 30 letters and digits" if value else "is required"
            bad.add(f"sms.india_dlt.{name}", complaint)
    return IndiaDlt(entity_id=given.entity_id, template_id=given.template_id)


def _max_price(sms: sms_pb2.Sms, bad: Violations) -> Money | None:
    if not sms.HasField("max_price"):
        return None
    if sms.max_price.currency_code != "USD":
        bad.add("sms.max_price.currency_code", "must be USD")
    if sms.max_price.micros <= 0:
        bad.add("sms.max_price.micros", "must be greater than 0")
    return Money(micros=sms.max_price.micros)
