"""Writes an email as MIME.

The older `email.mime` classes write each header as it is given, which the newer
`EmailMessage` does not: it decodes encoded words, and a newline in one of them
becomes a new header.
"""

from datetime import datetime
from email.charset import QP, Charset
from email.encoders import encode_base64
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import compat32
from email.utils import format_datetime, quote
from typing import cast
from urllib.parse import quote as percent_encoded

from relaypost_server.core.message import Address, Attachment, Email, Message
from relaypost_server.providers._mailbox import encoded, mailbox
from relaypost_server.providers._utf8_headers import raw_utf8

_UTF8 = Charset("utf-8")
_UTF8.body_encoding = QP
_POLICY = compat32.clone(linesep="\r\n")

LONGEST_LINE = 998
"""Characters without the line end (RFC 5322, section 2.1.1)."""
LONGEST_PIECE = 60
"""Characters of one piece of a name that is not ASCII."""


def write_mime(message: Message[Email]) -> bytes:
    """The message with CRLF line ends, lines short enough for SMTP. Bcc is not shown.

    It is 7-bit clean but for addresses beyond ASCII, which need SMTPUTF8.
    """
    email = message.content
    root = _with_files(_body(email), email)
    for name, value in _headers(message).items():
        root[name] = raw_utf8(value)
    return root.as_bytes(policy=_POLICY)


def _headers(message: Message[Email]) -> dict[str, str]:
    email = message.content
    domain = email.sender.email.rpartition("@")[2]
    headers = {
        "From": mailbox(email.sender),
        "To": _mailboxes(email.to),
        "Cc": _mailboxes(email.cc),
        "Reply-To": _mailboxes(email.reply_to),
        "Subject": _plain_or_encoded(email.subject),
        "Date": _date(message.create_time),
        "Message-ID": f"<{message.id}@{domain}>",
        "X-Relaypost-Message-Id": message.id,
    }
    headers |= {f"X-Relaypost-Tag-{name}": value for name, value in email.tags.items()}
    headers |= email.headers
    return {name: value for name, value in headers.items() if value}


def _date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def _plain_or_encoded(text: str) -> str:
    """The text itself where it is ASCII, can be folded, and cannot be taken for an encoded word."""
    return text if text.isascii() and "=?" not in text and len(text) < LONGEST_LINE else encoded(text)


def _mailboxes(addresses: tuple[Address, ...]) -> str:
    return ", ".join(mailbox(a) for a in addresses)


def _body(email: Email) -> MIMEBase:
    """The text, the html with its inline images, or both as alternatives."""
    html = _with_images(_text(email.html, "html"), email) if email.html else None
    if html is None:
        return _text(email.text, "plain")
    if not email.text:
        return html
    both = MIMEMultipart("alternative")
    both.attach(_text(email.text, "plain"))
    both.attach(html)
    return both


def _text(text: str, subtype: str) -> MIMEText:
    return MIMEText(text, subtype, cast(str, _UTF8))  # The same holds for a Charset.


def _with_images(html: MIMEBase, email: Email) -> MIMEBase:
    images = [a for a in email.attachments if a.inline]
    return _multipart("related", html, images) if images else html


def _with_files(body: MIMEBase, email: Email) -> MIMEBase:
    files = [a for a in email.attachments if not (a.inline and email.html)]
    return _multipart("mixed", body, files) if files else body


def _multipart(subtype: str, first: MIMEBase, files: list[Attachment]) -> MIMEMultipart:
    whole = MIMEMultipart(subtype)
    whole.attach(first)
    for file in files:
        whole.attach(_file(file))
    return whole


def _file(attachment: Attachment) -> MIMEBase:
    main, _, sub = attachment.content_type.partition("/")
    part = MIMEBase(main, sub)
    part.set_payload(attachment.content)
    encode_base64(part)
    disposition = "inline" if attachment.inline else "attachment"
    part["Content-Disposition"] = f"{disposition}; {_filename(attachment.filename)}"
    if attachment.inline:
        part["Content-ID"] = f"<{attachment.content_id}>"
    return part


def _filename(name: str) -> str:
    """The parameter of the name; as in RFC 2231 where it is not ASCII or could be taken for an encoded word."""
    if name.isascii() and "=?" not in name:
        return f'filename="{quote(name)}"'
    pieces = ["utf-8''"]
    for character in name:
        if len(pieces[-1]) >= LONGEST_PIECE:
            pieces.append("")
        pieces[-1] += percent_encoded(character, safe="")
    if len(pieces) == 1:
        return f"filename*={pieces[0]}"
    return "; ".join(f"filename*{number}*={piece}" for number, piece in enumerate(pieces))
