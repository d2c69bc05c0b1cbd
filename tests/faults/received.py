"""Reads what arrived at a provider as strictly as its specification allows, with code of its own.

Each reader ends in the same form, so that one comparison serves all providers.
"""

import base64
import json
import quopri
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import Message
from urllib.parse import parse_qsl, unquote_to_bytes

LONGEST_LINE = 998
"""Bytes without the CRLF (RFC 5322, section 2.1.1)."""
LONGEST_WORD = 75
"""Characters of an encoded word (RFC 2047, section 2)."""

Mailbox = tuple[str, str]
"""A display name and an address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """An attachment."""

    name: str
    media_type: str
    content: bytes
    content_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """An email as its provider understands it."""

    sender: Mailbox
    to: list[Mailbox]
    cc: list[Mailbox]
    reply_to: list[Mailbox]
    recipients: list[str]
    """Everybody who gets a copy."""
    subject: str
    text: str
    html: str
    files: list[File] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those that the caller asked for."""
    tags: Mapping[str, str] = field(default_factory=dict)
    message_id: str
    """The gateway's."""
    bounces: str = ""
    """Where they go, if not to the sender."""
    tracked: bool | None = None
    """None: as the account is set."""


ONLY_FILES = " "
"""Stands for a text where a provider demands one."""
LONGEST_SES_MAILBOX = 320


def of_ses(body: bytes) -> Mail:
    """An email out of SendEmail of the SES API v2."""
    whole = json.loads(body)
    required = {"FromEmailAddress", "Destination", "Content", "EmailTags"}
    assert whole.keys() - {"ReplyToAddresses", "FeedbackForwardingEmailAddress", "ConfigurationOverrides"} == required
    destination, simple = whole["Destination"], whole["Content"].pop("Simple")
    assert whole["Content"] == {}
    assert destination.keys() == {"ToAddresses", "CcAddresses", "BccAddresses"}
    assert simple.keys() <= {"Subject", "Body", "Headers", "Attachments"}
    to, cc, bcc = ([_ses_mailbox(a) for a in destination[f"{which}Addresses"]] for which in ("To", "Cc", "Bcc"))
    text, html = _data(simple["Body"].get("Text")), _data(simple["Body"].get("Html"))
    tags = _no_duplicates((tag["Name"], tag["Value"]) for tag in whole["EmailTags"])
    return Mail(
        sender=_ses_mailbox(whole["FromEmailAddress"]),
        to=to,
        cc=cc,
        reply_to=[_ses_mailbox(a) for a in whole.get("ReplyToAddresses", [])],
        recipients=[address for _, address in (*to, *cc, *bcc)],
        subject=_data(simple["Subject"]),
        text="" if (text, html) == (ONLY_FILES, "") else text,
        html=html,
        files=[_ses_file(a) for a in simple.get("Attachments", [])],
        headers=_no_duplicates((h["Name"], _ses_header(**h)) for h in simple.get("Headers", [])),
        message_id=tags.pop("relaypost_message_id"),
        tags=tags,
        bounces=whole.get("FeedbackForwardingEmailAddress", ""),
        tracked=_ses_tracking(whole.get("ConfigurationOverrides")),
    )


def _ses_mailbox(value: str) -> Mailbox:
    assert len(value) <= LONGEST_SES_MAILBOX
    assert value.isascii()
    return mailbox(value)


def _ses_header(*, Name: str, Value: str) -> str:  # noqa: N803
    assert len(Value) <= 995
    assert len(Name) + len(Value) <= 996
    return _ascii_header(Value)


def _ascii_header(value: str) -> str:
    assert re.fullmatch("[ -~]+", value), value
    return _unstructured(value)


def _ses_tracking(overrides: Mapping[str, Mapping[str, str]] | None) -> bool | None:
    if overrides is None:
        return None
    assert overrides.keys() == {"Tracking"}
    assert overrides["Tracking"].keys() == {"OpenTrackingEnabled", "ClickTrackingEnabled"}
    (told,) = set(overrides["Tracking"].values())
    return {"ENABLED": True, "DISABLED": False}[told]


def _data(part: Mapping[str, str] | None) -> str:
    if part is None:
        return ""
    assert part.keys() == {"Data", "Charset"}
    return part["Data"]


def _ses_file(file: Mapping[str, str]) -> File:
    return File(
        name=file["FileName"],
        media_type=file["ContentType"],
        content=base64.b64decode(file["RawContent"], validate=True),
        content_id=file.get("ContentId", ""),
    )


def of_sendgrid(body: bytes) -> Mail:
    """An email out of POST /v3/mail/send of SendGrid."""
    whole = json.loads(body)
    optional = {"headers", "attachments", "reply_to_list", "tracking_settings"}
    required = {"personalizations", "from", "subject", "content", "custom_args"}
    assert whole.keys() - optional == required
    (person,) = whole["personalizations"]
    assert person.keys() <= {"to", "cc", "bcc"}
    to, cc, bcc = ([_sendgrid_recipient(a) for a in person.get(which, [])] for which in ("to", "cc", "bcc"))
    parts = _no_duplicates((part["type"], part["value"]) for part in whole["content"])
    assert parts.keys() <= {"text/plain", "text/html"}
    assert all(len(part) > 0 for part in parts.values())
    if parts == {"text/plain": ONLY_FILES}:
        parts = {}
    tags = dict(whole["custom_args"])
    return Mail(
        sender=_sendgrid_mailbox(whole["from"]),
        to=to,
        cc=cc,
        reply_to=[_sendgrid_mailbox(a) for a in whole.get("reply_to_list", [])],
        recipients=[address for _, address in (*to, *cc, *bcc)],
        subject=whole["subject"],
        text=parts.get("text/plain", ""),
        html=parts.get("text/html", ""),
        files=[_sendgrid_file(file) for file in whole.get("attachments", [])],
        headers={name: _ascii_header(value) for name, value in whole.get("headers", {}).items()},
        message_id=tags.pop("relaypost_message_id"),
        tags=tags,
        tracked=_sendgrid_tracking(whole.get("tracking_settings")),
    )


def _sendgrid_file(file: Mapping[str, str]) -> File:
    assert file["content"], "SendGrid refuses an empty file"
    kind, _, parameters = file["type"].partition(";")
    assert not parameters or (kind == "text/calendar" and re.fullmatch(" method=[^;]+", parameters)), file["type"]
    return File(
        name=file["filename"],
        media_type=file["type"],
        content=base64.b64decode(file["content"], validate=True),
        content_id=file.get("content_id", ""),
    )


def _sendgrid_tracking(settings: Mapping[str, Mapping[str, bool]] | None) -> bool | None:
    if settings is None:
        return None
    (told,) = {told for setting in settings.values() for told in setting.values()}
    return told


def _sendgrid_recipient(address: Mapping[str, str]) -> Mailbox:
    """SendGrid writes a recipient's name as it is, and reads what it has written."""
    name, email = _sendgrid_mailbox(address)
    if not name.startswith('"'):
        assert not re.search(r'[()<>\[\]:;@\\,."]', name), name
        return name, email
    assert re.fullmatch(r'"(?:[^"\\]|\\.)*"', name), name
    return re.sub(r"\\(.)", r"\1", name[1:-1]), email


def _sendgrid_mailbox(address: Mapping[str, str]) -> Mailbox:
    assert address.keys() <= {"email", "name"}
    assert address["email"].isascii()
    return address.get("name", ""), address["email"]


_OURS = ("from", "to", "cc", "reply-to", "subject", "date", "message-id", "x-relaypost-message-id")
_OF_MIME = ("mime-version", "content-type", "content-transfer-encoding")
_OF_ADDRESSES = ("from", "to", "cc", "reply-to")
"""Where a header that is not ASCII may hold one (RFC 6532)."""
_TAG = "X-Relaypost-Tag-"
_COMMANDS = ("bcc", "resent-", "x-smtpapi", "x-msys-", "x-mc-", "x-ses-")


def of_smtp(sender: str, recipients: list[str], content: bytes) -> Mail:
    """An email out of its envelope and the bytes between DATA and the final dot, dots undoubled."""
    head, _, body = content.partition(b"\r\n\r\n")
    for line in content.split(b"\r\n"):
        assert len(line) <= LONGEST_LINE, len(line)
        assert re.fullmatch(rb"[\t -~\x80-\xff]*", line), line
    assert body.isascii()
    headers = _headers(head.decode())
    assert all(value.isascii() for name, value in headers.items() if name.lower() not in _OF_ADDRESSES)
    assert b"\r\nMessage-ID: <" in head, "some servers take a folded one for none"
    ours = {name.lower(): headers.pop(name) for name in list(headers) if name.lower() in (*_OURS, *_OF_MIME)}
    assert set(_OURS) - {"to", "cc", "reply-to"} <= ours.keys()
    tags = {name.removeprefix(_TAG): headers.pop(name) for name in list(headers) if name.startswith(_TAG)}
    root = message_from_bytes(content, policy=policy.compat32)
    text, html, files = _parts(root)
    author = mailbox(ours["from"])
    return Mail(
        sender=author,
        to=list(_mailboxes(ours.get("to", ""))),
        cc=list(_mailboxes(ours.get("cc", ""))),
        reply_to=list(_mailboxes(ours.get("reply-to", ""))),
        recipients=recipients,
        subject=_unstructured(ours["subject"]),
        text=text,
        html=html,
        files=files,
        headers={name: _unstructured(value) for name, value in headers.items()},
        message_id=ours["x-relaypost-message-id"],
        tags=tags,
        bounces="" if sender == author[1] else sender,
    )


def _headers(head: str) -> dict[str, str]:
    """The header fields, unfolded."""
    unfolded = re.sub(r"\r\n(?=[ \t]+[^ \t\r])", "", head)
    fields = []
    for line in unfolded.split("\r\n"):
        name, colon, value = line.partition(":")
        assert colon
        assert re.fullmatch(r"[!-9;-~]+", name), name
        fields.append((name, value.lstrip(" ")))
    assert len({name.lower() for name, _ in fields}) == len(fields), "a header stands there twice"
    assert not any(name.lower().startswith(_COMMANDS) for name, _ in fields), "some servers obey this header"
    return dict(fields)


def _parts(root: Message) -> tuple[str, str, list[File]]:
    """The text, the html and the files."""
    texts, files = {"text/plain": "", "text/html": ""}, []
    for part in root.walk():
        assert not part.defects, part.defects
        if part.is_multipart():
            assert part.get_content_type() in ("multipart/mixed", "multipart/related", "multipart/alternative")
        elif part.get("Content-Disposition") is None:
            assert texts[part.get_content_type()] == ""
            texts[part.get_content_type()] = quopri.decodestring(str(part.get_payload())).decode()
        else:
            files.append(_file(part))
    return texts["text/plain"], texts["text/html"], files


def _file(part: Message) -> File:
    for name, value in part.items():
        assert name.lower() in (*_OF_MIME, "content-disposition", "content-id")
        assert all(len(line) <= LONGEST_LINE for line in value.splitlines())
    payload = str(part.get_payload()).replace("\r\n", "").replace("\n", "")
    return File(
        name=_filename(_unfolded(part["Content-Disposition"])),
        media_type=_unfolded(part["Content-Type"]),
        content=base64.b64decode(payload, validate=True),
        content_id=str(part.get("Content-ID", "")).strip().strip("<>"),
    )


def _unfolded(value: object) -> str:
    return re.sub(r"\r?\n(?=[ \t])", "", str(value))


_PARAMETER = re.compile(r';\s+(filename(?:\*(?:\d+\*)?)?)=(?:"((?:[^"\\]|\\.)*)"|([A-Za-z0-9%\'._~-]+))')


def _filename(disposition: str) -> str:
    """RFC 2183, with the long names and the charsets of RFC 2231."""
    kind, rest = re.split(r"(?=;)", disposition, maxsplit=1)
    assert kind in ("attachment", "inline")
    assert _PARAMETER.sub("", rest) == "", rest
    found = _PARAMETER.findall(rest)
    if found[0][0] == "filename":
        assert len(found) == 1
        return re.sub(r"\\(.)", r"\1", found[0][1])
    if len(found) > 1:
        assert [name for name, _, _ in found] == [f"filename*{number}*" for number in range(len(found))]
    charset, _, value = "".join(value for _, _, value in found).partition("''")
    assert charset == "utf-8"
    return unquote_to_bytes(value).decode()


_ATOMS = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_QUOTED = r'"(?:[^"\\\r\n]|\\[ -~])*"'
_LOCAL = r"""(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\u00a1-\U0010ffff-]+|"[A-Za-z0-9!#$%&'*+/=?^_`{|}~. -]+")"""
ADDRESS = rf"{_LOCAL}@[A-Za-z0-9.-]+"
_MAILBOX = re.compile(rf"(?:(?P<name>{_ATOMS}|{_QUOTED})\s+<(?P<angle>{ADDRESS})>|(?P<bare>{ADDRESS}))(?:,\s+|\Z)")
_WORD = re.compile(r"=\?([^?\s]+)\?([bq])\?([^?\s]*)\?=")


def _mailboxes(value: str) -> Iterator[Mailbox]:
    end = 0
    while end < len(value):
        found = _MAILBOX.match(value, end)
        assert found, value[end:]
        end = found.end()
        name, address = found["name"] or "", found["angle"] or found["bare"]
        assert "=?" not in address, "some servers decode an encoded word here"
        quoted = name.startswith('"')
        yield re.sub(r"\\(.)", r"\1", name[1:-1]) if quoted else _unstructured(name), address


def mailbox(value: str) -> Mailbox:
    """One mailbox (RFC 5322, section 3.4), without comments and obsolete forms."""
    (found,) = _mailboxes(value)
    return found


def _unstructured(value: str) -> str:
    """The text with its encoded words decoded; what only looks like one is an error."""
    words = re.split(r"( +)", value)
    decoded = [_decoded(word) for word in words]
    for position in range(2, len(words), 2):
        if decoded[position] is not None and decoded[position - 2] is not None:
            words[position - 1] = ""
    pieces = [word.encode() if piece is None else piece for word, piece in zip(words, decoded, strict=True)]
    assert not any(piece is None and not word.isascii() for word, piece in zip(words, decoded, strict=True)), value
    return b"".join(pieces).decode()


def _decoded(word: str) -> bytes | None:
    found = _WORD.fullmatch(word)
    if found is None:
        assert not re.search(r"=\?[^?]*\?[bBqQ]\?.*\?=", word), word
        return None
    assert len(word) <= LONGEST_WORD, word
    charset, encoding, text = found.groups()
    assert charset == "utf-8"
    if encoding == "b":
        return base64.b64decode(text, validate=True)
    return quopri.decodestring(text, header=True)


def form(body: bytes) -> dict[str, str]:
    """The fields of a form, each of which may stand there once."""
    pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
    return _no_duplicates(pairs)


def _no_duplicates(pairs: "Iterator[tuple[str, str]] | list[tuple[str, str]]") -> dict[str, str]:
    listed = list(pairs)
    assert len(dict(listed)) == len(listed), "a name stands there twice"
    return dict(listed)
