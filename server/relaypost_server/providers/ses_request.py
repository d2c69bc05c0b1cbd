"""The request of SendEmail (botocore's `sesv2` model), and what SES takes of an email."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from relaypost_server.core.adjustments import Adjustment, AdjustmentKind
from relaypost_server.core.characters import counted
from relaypost_server.core.message import Address, Attachment, Email, Message, Tracking
from relaypost_server.core.value import replace
from relaypost_server.providers._mailbox import encoded_where_needed, everybody, mailbox
from relaypost_server.providers._receipts import MESSAGE_ID
from relaypost_server.providers._text_files import media_type_of

LONGEST_MAILBOX = 320
"""Bytes of an address with its name, encoded ("Address length is more than 320 bytes long")."""
LONGEST_CONTENT_ID = 78
LONGEST_CONTENT_TYPE = 78
LONGEST_HEADER_VALUE = 995
LONGEST_HEADER = 996
"""Characters of a name and a value together."""
NO_WORDS = " "
"""SES demands a body, which an email that is only attachments has not."""

_WIDEST = 8
"""Characters that one of a name can become in encoded words, at most, with its part of their frames."""
_JOINTS = " \u200d"
"""Characters that no name ends with: what they join is cut off."""
_TRACKED = {Tracking.ON: "ENABLED", Tracking.OFF: "DISABLED"}


def unsupported(email: Email) -> str:
    """What SES cannot carry of a valid email; "" where it can carry all."""
    addresses = email.envelope_sender + "".join([a.email for a in everybody(email)])
    if not addresses.isascii():
        return "SES does not speak SMTPUTF8: it takes addresses in ASCII alone"
    if " " in addresses:
        return "SES takes no space before the @ of an address"
    if any(len(a.content_id) > LONGEST_CONTENT_ID for a in email.attachments):
        return f"SES takes content ids of at most {LONGEST_CONTENT_ID} characters"
    if any(len(str(media_type_of(a))) > LONGEST_CONTENT_TYPE for a in email.attachments):
        return f"SES takes content types of at most {LONGEST_CONTENT_TYPE} characters, with their parameters"
    for name, value in email.headers.items():
        length = len(encoded_where_needed(value))
        if length > LONGEST_HEADER_VALUE or len(name) + length > LONGEST_HEADER:
            return f"SES takes headers of at most {LONGEST_HEADER} characters, encoded"
    return ""


def fitted(message: Message[Email]) -> tuple[Message[Email], tuple[Adjustment, ...]]:
    """The message with names that SES takes, and what was changed."""
    email = message.content
    if not any(map(_may_be_long, everybody(email))):
        return message, ()
    groups = {"reply_to": email.reply_to, "to": email.to, "cc": email.cc, "bcc": email.bcc, "sender": (email.sender,)}
    changed: dict[str, Any] = {}
    told = []
    for field, addresses in groups.items():
        short = tuple(map(_shortened, addresses))
        count = sum(1 for before, after in zip(addresses, short, strict=True) if before is not after)
        if count:
            changed[field] = short[0] if field == "sender" else short
            told.append(_told(field, count))
    return (replace(message, content=replace(email, **changed)) if changed else message), tuple(told)


def _told(field: str, count: int) -> Adjustment:
    description = f"{counted(count, 'name')} shortened: SES takes {LONGEST_MAILBOX} bytes with the address, encoded"
    return Adjustment(field=f"email.{field}", kind=AdjustmentKind.SHORTENED, description=description)


def _shortened(address: Address) -> Address:
    """The same address, with as much of its name as SES takes."""
    if _fits(address):
        return address
    fewest, most = 0, len(address.name) - 1
    while fewest < most:
        middle = (fewest + most + 1) // 2
        fewest, most = (middle, most) if _fits(_cut(address, middle)) else (fewest, middle - 1)
    return _cut(address, fewest)


def _may_be_long(address: Address) -> bool:
    """Whether its mailbox needs to be written to know how long it is."""
    return len(address.name) * _WIDEST + len(address.email) >= LONGEST_MAILBOX


def _cut(address: Address, length: int) -> Address:
    return Address(email=address.email, name=f"{address.name[:length].rstrip(_JOINTS)}…")


def _fits(address: Address) -> bool:
    return len(mailbox(address).encode()) <= LONGEST_MAILBOX


def request_body(message: Message[Email], configuration_set: str | None) -> dict[str, Any]:
    """The JSON of SendEmail."""
    email = message.content
    tags = {**email.tags, MESSAGE_ID: message.id}
    body: dict[str, Any] = {
        "FromEmailAddress": mailbox(email.sender),
        "Destination": {
            "ToAddresses": _mailboxes(email.to),
            "CcAddresses": _mailboxes(email.cc),
            "BccAddresses": _mailboxes(email.bcc),
        },
        "Content": {"Simple": _simple(email)},
        "EmailTags": [{"Name": name, "Value": value} for name, value in tags.items()],
    }
    if email.reply_to:
        body["ReplyToAddresses"] = _mailboxes(email.reply_to)
    if email.envelope_sender:
        body["FeedbackForwardingEmailAddress"] = email.envelope_sender
    if email.tracking:
        tracked = _TRACKED[email.tracking]
        body["ConfigurationOverrides"] = {"Tracking": {"OpenTrackingEnabled": tracked, "ClickTrackingEnabled": tracked}}
    if configuration_set:
        body["ConfigurationSetName"] = configuration_set
    return body


def _mailboxes(addresses: Sequence[Address]) -> list[str]:
    return [mailbox(a) for a in addresses]


def _simple(email: Email) -> dict[str, Any]:
    parts = {"Text": email.text, "Html": email.html} if email.text or email.html else {"Text": NO_WORDS}
    simple: dict[str, Any] = {
        "Subject": _utf8(email.subject),
        "Body": {name: _utf8(part) for name, part in parts.items() if part},
    }
    if email.headers:
        simple["Headers"] = [{"Name": n, "Value": encoded_where_needed(value)} for n, value in email.headers.items()]
    if email.attachments:
        simple["Attachments"] = [_attachment(a) for a in email.attachments]
    return simple


def _utf8(text: str) -> dict[str, str]:
    return {"Data": text, "Charset": "UTF-8"}


def _attachment(attachment: Attachment) -> dict[str, str]:
    found = {
        "FileName": attachment.filename,
        "ContentType": str(media_type_of(attachment)),
        "ContentDisposition": "INLINE" if attachment.inline else "ATTACHMENT",
        "ContentTransferEncoding": "BASE64",
        "RawContent": b64encode(attachment.content).decode(),
    }
    return {**found, "ContentId": attachment.content_id} if attachment.inline else found
