"""Writes an email as MIME.

The older `email.mime` classes write each header as it is given, which the newer
`EmailMessage` does not: it decodes encoded words, and a newline in one of them
becomes a new header.
"""

import re
from datetime import datetime
from email.charset import QP, Charset
from email.encoders import encode_base64
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import Compat32
from email.utils import format_datetime, quote
from typing import Any, cast
from urllib.parse import quote as percent_encoded

from relaypost_server.core.message import Address, Attachment, Email, Message
from relaypost_server.providers._mailbox import encoded, encoded_where_needed, mailbox
from relaypost_server.providers._text_files import media_type_of

_UTF8 = Charset("utf-8")
_UTF8.body_encoding = QP

LONGEST_LINE = 998
"""Characters without the line end (RFC 5322, section 2.1.1)."""
LONGEST_SUBJECT = LONGEST_LINE - len("Subject: ")
LONGEST_PIECE = 60
"""Characters of one piece of a name that is not ASCII."""
WIDTH = 78
"""Characters of a line that can be folded (RFC 5322, section 2.1.1)."""


class _Policy(Compat32):
    """Writes headers as they are, folded where they have a space, but never before their first word.

    The standard library leaves the first line of a header empty where its first
    word is long, and some servers then read a Message-ID as missing.
    """

    def fold_binary(self, name: str, value: Any) -> bytes:
        first, *rest = re.findall(r" *[^ \r\n]+", str(value)) or [""]
        lines = [f"{name}: {first}"]
        for word in rest:
            if len(lines[-1]) + len(word) > WIDTH:
                lines.append(word)
            else:
                lines[-1] += word
        return "\r\n".join((*lines, "")).encode()


_POLICY = _Policy(linesep="\r\n")


def write_mime(message: Message[Email]) -> bytes:
    """The message with CRLF line ends and lines short enough for SMTP. Bcc is not shown.

    7-bit clean, but for addresses that are not ASCII: they stand in UTF-8, as SMTPUTF8 wants them (RFC 6532).
    """
    email = message.content
    root = _with_files(_body(email), email)
    for name, value in _headers(message).items():
        root[name] = value
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
    headers |= {name: encoded_where_needed(value) for name, value in email.headers.items()}
    return {name: value for name, value in headers.items() if value}


def _date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def _plain_or_encoded(text: str) -> str:
    """The text itself where it is ASCII, fits into a line, and cannot be taken for an encoded word."""
    return text if text.isascii() and "=?" not in text and len(text) <= LONGEST_SUBJECT else encoded(text)


def _mailboxes(addresses: tuple[Address, ...]) -> str:
    return ", ".join(mailbox(a) for a in addresses)


def _body(email: Email) -> MIMEBase | None:
    """The text, the html with its inline images, or both as alternatives; None where there are only files."""
    html = _with_images(_text(email.html, "html"), email) if email.html else None
    if html is None:
        return _text(email.text, "plain") if email.text else None
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


def _with_files(body: MIMEBase | None, email: Email) -> MIMEBase:
    files = [a for a in email.attachments if not (a.inline and email.html)]
    return _multipart("mixed", body, files) if files or body is None else body


def _multipart(subtype: str, first: MIMEBase | None, files: list[Attachment]) -> MIMEMultipart:
    whole = MIMEMultipart(subtype)
    if first is not None:
        whole.attach(first)
    for file in files:
        whole.attach(_file(file))
    return whole


def _file(attachment: Attachment) -> MIMEBase:
    kind = media_type_of(attachment)
    main, _, sub = kind.essence.partition("/")
    part = MIMEBase(main, sub)
    part.replace_header("Content-Type", str(kind))
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
