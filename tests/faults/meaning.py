"""What the sender of an email means by what was typed and pasted into it, by rules that are written here once more."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from email.header import Header
from urllib.parse import unquote

import idna
from relaypost.v1 import email_pb2, messaging_service_pb2 as pb

from tests.faults.received import ONLY_FILES, File, Mail, Mailbox

_AROUND = "\u200c\u200d"
_INVISIBLE = "\u00ad\u061c\u200b\u200e\u200f\u2060\ufeff" + "".join(
    chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
)
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"


def address(typed: str) -> str:
    """An address in the form that RFC 5321 has for it, its domain in ASCII."""
    shown = "".join(c for c in typed if c not in _INVISIBLE)
    while shown and (shown[0].isspace() or shown[0] in _AROUND):
        shown = shown[1:]
    while shown and (shown[-1].isspace() or shown[-1] in _AROUND):
        shown = shown[:-1]
    narrow = "".join(unicodedata.normalize("NFKC", c) if 0xFF01 <= ord(c) <= 0xFF5E or c in "｡。" else c for c in shown)
    narrow = narrow.replace("。", ".")
    if narrow.lower().startswith("mailto:"):
        narrow = unquote(narrow[7:])
    while narrow and (narrow[-1] in ",;." or narrow[-1].isspace()):
        narrow = narrow[:-1]
    local, _, domain = narrow.rpartition("@")
    local = unicodedata.normalize("NFC", local.removeprefix('"').removesuffix('"'))
    if local.isascii() and not re.fullmatch(rf"{_ATOM}(?:\.{_ATOM})*", local):
        local = f'"{local}"'
    return f"{local}@{domain.lower() if domain.isascii() else idna.encode(domain, uts46=True).decode()}"


def line(typed: str) -> str:
    """One line, without what no reader shows."""
    return "".join(" " if c in "\t\v\f" else _character(c) for c in typed)


def prose(typed: str) -> str:
    """A text of any number of lines."""
    return "".join(c if c in "\t\f" else _character(c) for c in typed)


def _character(c: str) -> str:
    if 0x80 <= ord(c) < 0xA0:
        return bytes([ord(c)]).decode("cp1252", "ignore")
    return c if c in "\r\n" or unicodedata.category(c) != "Cc" else ""


def media_type(typed: str, content: bytes) -> str:
    """The type with its parameters, and with a charset where it is a text in Unicode."""
    essence, *rest = [part.strip() for part in (typed or "application/octet-stream").split(";")]
    pairs = [
        (name.strip().lower(), value.strip().strip('"')) for name, _, value in (p.partition("=") for p in rest if p)
    ]
    if essence.lower().startswith("text/") and not any(name == "charset" for name, _ in pairs):
        charsets = ["utf-16"] if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ["utf-8"] if _is_utf8(content) else []
        pairs += [("charset", charset) for charset in charsets]
    written = [
        f"{name}={value}" if re.fullmatch(r"[\w.+%'-]+", value) else f'{name}="{value}"' for name, value in pairs
    ]
    return "; ".join([essence.lower(), *written])


def _is_utf8(content: bytes) -> bool:
    return "\ufffd" not in content.replace("\ufffd".encode(), b"").decode(errors="replace")


def meant(request: pb.SendEmailRequest) -> Mail:
    """What the caller of this request means."""
    email = request.email

    def mailbox(of: email_pb2.EmailAddress) -> Mailbox:
        return line(of.display_name), address(of.address)

    seen: set[str] = set()

    def once(addresses: Iterable[email_pb2.EmailAddress]) -> list[Mailbox]:
        new = []
        for found in map(mailbox, addresses):
            if found[1].lower() not in seen:
                seen.add(found[1].lower())
                new.append(found)
        return new

    to, cc, bcc = once(email.to), once(email.cc), once(email.bcc)
    return Mail(
        sender=mailbox(email.sender),
        to=to,
        cc=cc,
        reply_to=[mailbox(a) for a in email.reply_to],
        recipients=[email for _, email in (*to, *cc, *bcc)],
        subject=line(email.subject),
        text=prose(email.text),
        html=prose(email.html),
        files=[
            File(
                name=line(a.filename),
                media_type=media_type(a.content_type, a.content),
                content=a.content,
                content_id=a.content_id,
            )
            for a in email.attachments
        ],
        headers={name: line(value).strip(" ") for name, value in email.headers.items()},
        tags=dict(email.tags),
        message_id="",
        bounces=address(email.envelope_sender) if email.envelope_sender else "",
        tracked={0: None, 1: False, 2: True}[email.tracking],
    )


def is_repaired(request: pb.SendEmailRequest, mail: Mail) -> bool:
    """Whether what is meant is not what was typed, in a way that callers are told."""
    email = request.email
    return (mail.subject, mail.text, mail.html) != (
        email.subject,
        email.text,
        email.html,
    ) or mail.headers != email.headers


def lacking(provider: str, mail: Mail) -> str:
    """What this provider cannot carry of the email; "" for nothing."""
    if provider not in ("ses", "sendgrid"):
        return ""
    addresses = [email for _, email in (mail.sender, *mail.to, *mail.cc, *mail.reply_to)] + mail.recipients
    if not all(email.isascii() for email in (*addresses, mail.bounces)):
        return "an address that is not ASCII"
    if any(('"' if provider == "sendgrid" else " ") in email for email in (*addresses, mail.bounces)):
        return "a quoted address"
    if provider == "ses":
        return "a long content type" if any(len(file.media_type) > 78 for file in mail.files) else _long_header(mail)
    if mail.bounces:
        return "an envelope sender"
    if not mail.to:
        return "a recipient in to"
    if any(not file.content for file in mail.files):
        return "an empty file"
    return "a charset" if any(map(_is_lost, mail.files)) else ""


def _is_lost(file: File) -> bool:
    """Whether a text is taken for another one if its charset is not said."""
    charset = next((p.removeprefix("charset=") for p in file.media_type.split("; ") if p.startswith("charset=")), "")
    return (
        charset != ""
        and not file.content.isascii()
        and f"; charset={charset}" not in media_type("text/x", file.content)
    )


def _long_header(mail: Mail) -> str:
    """Whether a header is too long for SES once all its words are encoded; those that are not are no longer."""
    encoded = {name: Header(value, "utf-8").encode(maxlinelen=75, linesep="") for name, value in mail.headers.items()}
    shown = {name: mail.headers[name] if mail.headers[name].isascii() else word for name, word in encoded.items()}
    return "a long header" if any(len(name) + len(value) > 996 for name, value in shown.items()) else ""


def as_carried(provider: str, mail: Mail, arrived: Mail) -> Mail:
    """The email as this provider can show it: SES shortens names, SendGrid drops parameters of content types."""
    if provider != "smtp" and (mail.text, mail.html) == (ONLY_FILES, ""):
        mail = replace(mail, text="")  # What stands for no words is read as none.
    if provider == "ses":
        return replace(
            mail,
            sender=_shortened(mail.sender, arrived.sender),
            to=_all_shortened(mail.to, arrived.to),
            cc=_all_shortened(mail.cc, arrived.cc),
            reply_to=_all_shortened(mail.reply_to, arrived.reply_to),
        )
    if provider == "sendgrid":
        files = [replace(f, media_type=_without_parameters(f.media_type)) for f in mail.files]
        return replace(mail, files=files)
    # A server of SMTP is not asked to track, and is told one address where both are the same.
    return replace(mail, tracked=None, bounces="" if mail.bounces == mail.sender[1] else mail.bounces)


def _all_shortened(whole: list[Mailbox], arrived: list[Mailbox]) -> list[Mailbox]:
    return list(map(_shortened, whole, arrived)) if len(whole) == len(arrived) else whole


def _shortened(whole: Mailbox, arrived: Mailbox) -> Mailbox:
    """What arrived, if it is the beginning of the whole name and the name is long."""
    beginning = arrived[0].removesuffix("…")
    is_long = len(whole[0].encode()) > 90 and beginning != arrived[0]
    return (arrived[0], whole[1]) if is_long and whole[0].startswith(beginning) else whole


def _without_parameters(media_type: str) -> str:
    essence, *parameters = media_type.split("; ")
    kept = [p for p in parameters if essence == "text/calendar" and p.startswith("method=")]
    return "; ".join([essence, *kept])
