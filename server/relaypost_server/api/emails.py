"""Reads an email out of a request."""

import re
from collections.abc import Mapping, Sequence

from relaypost.v1 import email_pb2

from relaypost_server.addresses.emails import parse_email
from relaypost_server.addresses.errors import AddressError
from relaypost_server.api.rendering import check_no_template, rendered
from relaypost_server.api.violations import Violations
from relaypost_server.core.message import Address, Attachment, Email
from relaypost_server.core.ports import Renderer

MOST_RECIPIENTS = 50
MOST_REPLY_TO = 10
MOST_ATTACHMENTS = 20
MOST_HEADERS = 15
MOST_TAGS = 10
LONGEST_SUBJECT = 998
LONGEST_NAME = 128
LONGEST_HEADER = 996
LONGEST_BODY = 1024 * 1024

_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,76}")
_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_TAG = re.compile(r"[A-Za-z0-9_-]{1,128}")
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}")
_CONTENT_ID = re.compile(r"[A-Za-z0-9._@-]{1,78}")
_OUR_HEADERS = frozenset(
    {"from", "to", "cc", "bcc", "sender", "reply-to", "subject", "date", "message-id", "mime-version"}
    | {"received", "return-path", "dkim-signature", "delivered-to"}
)
_OUR_PREFIXES = ("content-", "resent-", "arc-", "x-relaypost-", "x-sg-", "x-ses-", "x-amz-")
_COMMANDS = ("x-smtpapi", "x-msys-", "x-mc-")
"""SendGrid, SparkPost and Mandrill obey these where they are the SMTP server: they can add recipients."""


class EmailReader:
    """What a gateway adds to and demands of every email."""

    def __init__(self, default_sender: Address | None, most_attachment_bytes: int, templates: Renderer) -> None:
        self._default_sender = default_sender
        self._most_attachment_bytes = most_attachment_bytes
        self._templates = templates

    def read(self, email: email_pb2.Email, bad: Violations) -> Email:
        """The email; its complaints are added to `bad`, and it must not be used if there are any."""
        sender = self._sender(email, bad)
        to, cc, bcc = _recipients(email, bad)
        subject, text, html = self._rendered(email, bad) if email.template else _words(email, bad)
        return Email(
            sender=sender,
            to=to,
            cc=cc,
            bcc=bcc,
            reply_to=_reply_to(email, bad),
            subject=subject,
            text=text,
            html=html,
            attachments=self._attachments(email, bad),
            headers=_headers(email.headers, bad),
            tags=_tags(email.tags, bad),
        )

    def _sender(self, email: email_pb2.Email, bad: Violations) -> Address:
        if email.HasField("sender"):
            return _address("email.sender", email.sender, bad)
        if self._default_sender is None:
            bad.add("email.sender", "is required, for the gateway has no OTP_FROM_EMAIL")
            return Address(email="")
        return self._default_sender

    def _rendered(self, email: email_pb2.Email, bad: Violations) -> tuple[str, str, str]:
        """Subject, text and html, as the template makes them."""
        words = {"subject": email.subject, "text": email.text, "html": email.html}
        made = rendered("email", email, self._templates.email, bad, words=words)
        return (made.subject, made.text, made.html) if made else ("", "", "")

    def _attachments(self, email: email_pb2.Email, bad: Violations) -> tuple[Attachment, ...]:
        if not email.attachments:
            return ()
        if len(email.attachments) > MOST_ATTACHMENTS:
            bad.add("email.attachments", f"has {len(email.attachments)} files, at most {MOST_ATTACHMENTS} are allowed")
            return ()
        total = sum(len(a.content) for a in email.attachments)
        if total > self._most_attachment_bytes:
            bad.add(
                "email.attachments",
                f"have {total} bytes together, at most {self._most_attachment_bytes} are allowed",
            )
        ids = [a.content_id for a in email.attachments if a.content_id]
        if len(set(ids)) < len(ids):
            bad.add("email.attachments", "must not share a content_id")
        return tuple(_attachment(f"email.attachments[{i}]", a, bad) for i, a in enumerate(email.attachments))


def read_address(field: str, address: email_pb2.EmailAddress, bad: Violations) -> Address:
    """An address with its name; its complaints are added to `bad`, and it must not be used if there are any."""
    return _address(field, address, bad)


def _words(email: email_pb2.Email, bad: Violations) -> tuple[str, str, str]:
    """Subject, text and html, as they were given."""
    check_no_template("email", email, bad)
    bad.line("email.subject", email.subject, longest=LONGEST_SUBJECT, required=True)
    if not email.text and not email.html:
        bad.add("email.text", "is required, or html")
    bad.prose("email.text", email.text, most_bytes=LONGEST_BODY)
    bad.prose("email.html", email.html, most_bytes=LONGEST_BODY)
    return email.subject, email.text, email.html


def _recipients(email: email_pb2.Email, bad: Violations) -> Sequence[tuple[Address, ...]]:
    """To, cc and bcc; an address that was read before is left out."""
    seen: set[str] = set()
    given = len(email.to) + len(email.cc) + len(email.bcc)
    to = _unseen("email.to", email.to, seen, bad)
    cc = _unseen("email.cc", email.cc, seen, bad)
    bcc = _unseen("email.bcc", email.bcc, seen, bad)
    if given == 0:
        bad.add("email.to", "is required: an email needs a recipient")
    elif given > MOST_RECIPIENTS:
        bad.add("email.to", f"to, cc and bcc have {given} addresses, at most {MOST_RECIPIENTS} are allowed")
    return to, cc, bcc


def _unseen(
    field: str, addresses: Sequence[email_pb2.EmailAddress], seen: set[str], bad: Violations
) -> tuple[Address, ...]:
    """Of too many, the first: a complaint about their number follows."""
    if not addresses:
        return ()
    found = []
    for position, address in enumerate(addresses[:MOST_RECIPIENTS]):
        recipient = _address(f"{field}[{position}]", address, bad)
        key = recipient.email.lower()
        if key not in seen:
            seen.add(key)
            found.append(recipient)
    return tuple(found)


def _address(field: str, address: email_pb2.EmailAddress, bad: Violations) -> Address:
    name = address.display_name
    if name:
        bad.line(f"{field}.display_name", name, longest=LONGEST_NAME, name=True)
    try:
        return Address(email=parse_email(address.address), name=name)
    except AddressError as error:
        bad.add(f"{field}.address", str(error) if address.address else "is required")
        return Address(email="")


def _reply_to(email: email_pb2.Email, bad: Violations) -> tuple[Address, ...]:
    if not email.reply_to:
        return ()
    if len(email.reply_to) > MOST_REPLY_TO:
        bad.add("email.reply_to", f"has {len(email.reply_to)} addresses, at most {MOST_REPLY_TO} are allowed")
        return ()
    return tuple(_address(f"email.reply_to[{i}]", a, bad) for i, a in enumerate(email.reply_to))


def _attachment(field: str, file: email_pb2.Attachment, bad: Violations) -> Attachment:
    bad.line(f"{field}.filename", file.filename, longest=255, required=True, name=True)
    if "/" in file.filename or "\\" in file.filename:
        bad.add(f"{field}.filename", "must not hold a path")
    if not file.content:
        bad.add(f"{field}.content", "is required")
    media_type = file.content_type.lower() or "application/octet-stream"
    if not _MEDIA_TYPE.fullmatch(media_type):
        bad.add(f"{field}.content_type", "is not a media type such as application/pdf")
    elif media_type.startswith(("multipart/", "message/")):
        bad.add(f"{field}.content_type", "must not be multipart or message: such parts cannot be encoded")
    if file.content_id and not _CONTENT_ID.fullmatch(file.content_id):
        bad.add(f"{field}.content_id", "must have 1 to 78 of letters, digits and ._@-")
    return Attachment(filename=file.filename, content=file.content, content_type=media_type, content_id=file.content_id)


def _headers(headers: Mapping[str, str], bad: Violations) -> Mapping[str, str]:
    if not headers:
        return {}
    if len(headers) > MOST_HEADERS:
        bad.add("email.headers", f"has {len(headers)} headers, at most {MOST_HEADERS} are allowed")
        return {}
    lowered = [name.lower() for name in headers]
    if len(set(lowered)) < len(lowered):
        bad.add("email.headers", "holds a name twice, in upper and lower case")
    for position, (name, value) in enumerate(sorted(headers.items()), start=1):
        if not _HEADER_NAME.fullmatch(name):
            bad.add(f"email.headers (key {position} by name)", "must have 1 to 76 of letters, digits and -")
        elif _is_reserved(name.lower()):
            bad.add(f'email.headers["{name}"]', "is a header that the gateway or the provider writes")
        elif len(name) + len(value) > LONGEST_HEADER or not _HEADER_VALUE.fullmatch(value):
            bad.add(
                f'email.headers["{name}"]',
                f"must be printable ASCII, at most {LONGEST_HEADER} characters with its name",
            )
        else:
            bad.line(f'email.headers["{name}"]', value, longest=LONGEST_HEADER)
    return dict(headers)


def _is_reserved(name: str) -> bool:
    return name in _OUR_HEADERS or name.startswith(_OUR_PREFIXES + _COMMANDS)


def _tags(tags: Mapping[str, str], bad: Violations) -> Mapping[str, str]:
    if not tags:
        return {}
    if len(tags) > MOST_TAGS:
        bad.add("email.tags", f"has {len(tags)} tags, at most {MOST_TAGS} are allowed")
        return {}
    for position, (name, value) in enumerate(sorted(tags.items()), start=1):
        if not _TAG.fullmatch(name) or name.lower().startswith("relaypost"):
            bad.add(
                f"email.tags (key {position} by name)",
                'must have 1 to 128 of letters, digits, _ and -, and not begin with "relaypost"',
            )
        elif not _TAG.fullmatch(value):
            bad.add(f'email.tags["{name}"]', "must have 1 to 128 of letters, digits, _ and -")
    return dict(tags)
