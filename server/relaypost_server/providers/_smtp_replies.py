"""Reads the replies of SMTP servers (RFC 5321, section 4.2; RFC 3463). What they mean stands in `_smtp_rows`."""

import re

from aiosmtplib import SMTPResponse

CLOSING = 421
_ENHANCED = re.compile(r"[(\[#]{0,2}(?P<status>[245]\.\d{1,3}\.\d{1,3})\b")
_QUEUE_ID = re.compile(
    r"(?:queued (?:as|with id)|\bid=|InternalId=)\s*(?P<named>[A-Z0-9][A-Z0-9.-]{5,99})"
    r"|\bOk:?\s+(?=[A-Z.-]*\d)(?=[\d.-]*[A-Z])(?P<bare>[A-Z0-9][A-Z0-9.-]{5,99})(?:\s|$)"
    r"|(?:^|\s)(?P<first>[A-Z0-9]{6,99}) Message accepted",
    re.IGNORECASE,
)
_FOREIGN = re.compile(r"<[^<>]*>|(?<!\S)\S+@\S+")
"""Addresses in a reply. Their owners choose them, so they are not the server's words."""
_READ = 1_000
"""How many characters of a reply are searched for words."""


def queue_id(text: str) -> str:
    """The id under which the server took the message, as Postfix, Exim, Exchange, sendmail and SES write it."""
    found = _QUEUE_ID.search(text)
    return next(filter(None, found.groups())) if found else ""


def status_of(reply: SMTPResponse) -> str:
    """The enhanced status code, as in "5.1.1"; "" where there is none, or one of another class than the reply code."""
    found = _ENHANCED.match(reply.message)
    return found["status"] if found and found["status"][0] == str(reply.code)[0] else ""


def code_of(reply: SMTPResponse) -> str:
    """The reply code, with the enhanced status code where there is one: "550 5.1.1"."""
    found = _ENHANCED.match(reply.message)
    return f"{reply.code} {found['status']}" if found else str(reply.code)


def words_of(reply: SMTPResponse) -> str:
    """The server's own words on one line, without the addresses that it repeats."""
    return " ".join(_FOREIGN.sub(" ", reply.message[:_READ]).split())


def positive(reply: SMTPResponse) -> bool:
    return 200 <= reply.code < 300
