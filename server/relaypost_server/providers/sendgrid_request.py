"""The request of POST /v3/mail/send (github.com/twilio/sendgrid-oai), and what SendGrid takes of an email."""

from base64 import b64encode
from typing import Any

from relaypost_server.core.adjustments import Adjustment, AdjustmentKind
from relaypost_server.core.media_types import MediaType, parse_media_type
from relaypost_server.core.message import Address, Attachment, Email, Message, Tracking
from relaypost_server.core.value import replace
from relaypost_server.providers._mailbox import encoded_where_needed, everybody, quoted_where_needed
from relaypost_server.providers._receipts import MESSAGE_ID
from relaypost_server.providers._text_files import unicode_of

NO_WORDS = " "
"""SendGrid demands a character of content, which an email that is only attachments has not."""


def unsupported(email: Email) -> str:
    """What SendGrid cannot carry of a valid email; "" where it can carry all."""
    if not email.to:
        return "SendGrid needs a recipient in `to`"
    addresses = "".join([a.email for a in everybody(email)])
    if not addresses.isascii():
        return "SendGrid drops mail for addresses that are not ASCII: it does not speak SMTPUTF8"
    if '"' in addresses:
        return "SendGrid takes no quotes in an address"
    if email.envelope_sender:
        return "SendGrid sends bounces to itself: it takes no `envelope_sender`"
    if any(not a.content for a in email.attachments):
        return "SendGrid takes no empty files"
    if any(_needs_charset(a) for a in email.attachments):
        return "SendGrid takes no charset of a file: it reads this text as another"
    return ""


def _needs_charset(attachment: Attachment) -> bool:
    """Whether the text is lost without the charset that was said, which its bytes do not tell."""
    said = parse_media_type(attachment.content_type).get("charset").lower()
    return bool(said) and not attachment.content.isascii() and said != unicode_of(attachment.content)


def fitted(message: Message[Email]) -> tuple[Message[Email], tuple[Adjustment, ...]]:
    """The message with content types that SendGrid takes, and what was changed."""
    files, told = [], []
    for position, file in enumerate(message.content.attachments):
        given = parse_media_type(file.content_type)
        taken = _taken(given)
        if taken != given:
            told.append(_told(position))
        files.append(replace(file, content_type=str(taken)))
    if not told:
        return message, ()
    return replace(message, content=replace(message.content, attachments=tuple(files))), tuple(told)


def _taken(given: MediaType) -> MediaType:
    """SendGrid answers 400 to any parameter but the method of a calendar's invitation (sendgrid-php#250)."""
    return given.only("method") if given.essence == "text/calendar" else given.only()


def _told(position: int) -> Adjustment:
    return Adjustment(
        field=f"email.attachments[{position}].content_type",
        kind=AdjustmentKind.SHORTENED,
        description="parameters were dropped: SendGrid takes none but the method of a text/calendar",
    )


def request_body(message: Message[Email], *, sandbox: bool = False) -> dict[str, Any]:
    """The JSON of POST /v3/mail/send.

    Written by hand: the SDK's `Content` raises on a text that looks like an
    API key, and its `Email` parses every address again.
    """
    email = message.content
    recipients = {"to": email.to, "cc": email.cc, "bcc": email.bcc}
    body: dict[str, Any] = {
        "personalizations": [{k: [_recipient(a) for a in v] for k, v in recipients.items() if v}],
        "from": _mailbox(email.sender),
        "subject": email.subject,
        "content": _content(email),
        "custom_args": {**email.tags, MESSAGE_ID: message.id},
    }
    if email.reply_to:
        body["reply_to_list"] = [_mailbox(a) for a in email.reply_to]
    if email.headers:
        body["headers"] = {name: encoded_where_needed(value) for name, value in email.headers.items()}
    if email.attachments:
        body["attachments"] = [_attachment(a) for a in email.attachments]
    if email.tracking:
        body["tracking_settings"] = _tracking(email.tracking)
    if sandbox:
        body["mail_settings"] = {"sandbox_mode": {"enable": True}}
    return body


def _content(email: Email) -> list[dict[str, str]]:
    """SendGrid wants the plain text before the html."""
    parts = {"text/plain": email.text, "text/html": email.html}
    found = [{"type": media, "value": value} for media, value in parts.items() if value]
    return found or [{"type": "text/plain", "value": NO_WORDS}]


def _mailbox(address: Address) -> dict[str, str]:
    return {"email": address.email, "name": address.name} if address.name else {"email": address.email}


def _recipient(address: Address) -> dict[str, str]:
    """SendGrid quotes the names of senders, but takes a part of a recipient's for an address at a comma or semicolon.

    It drops such mail after it has taken it on (sendgrid-python#291).
    """
    return _mailbox(Address(email=address.email, name=quoted_where_needed(address.name)))


def _tracking(tracking: Tracking) -> dict[str, dict[str, bool]]:
    """Google Analytics, another of the account's settings, rewrites links as well: off with the rest."""
    if tracking is Tracking.ON:
        return {"click_tracking": {"enable": True}, "open_tracking": {"enable": True}}
    return {
        "click_tracking": {"enable": False, "enable_text": False},
        "open_tracking": {"enable": False},
        "ganalytics": {"enable": False},
    }


def _attachment(attachment: Attachment) -> dict[str, str]:
    found = {
        "content": b64encode(attachment.content).decode(),
        "filename": attachment.filename,
        "type": attachment.content_type,
        "disposition": "inline" if attachment.inline else "attachment",
    }
    return {**found, "content_id": attachment.content_id} if attachment.inline else found
