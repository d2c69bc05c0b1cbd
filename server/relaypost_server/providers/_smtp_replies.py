"""What the replies of SMTP servers mean (RFC 5321, section 4.2; RFC 3463)."""

import re

from aiosmtplib import SMTPResponse

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.value import replace

CLOSING = 421
AUTHENTICATION_REQUIRED = frozenset({530, 534, 535, 538})
_TOO_LARGE = 552
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\b")
_QUEUE_ID = re.compile(
    r"(?:queued (?:as|with id)|\bid=|InternalId=)\s*(?P<named>[A-Z0-9][A-Z0-9.-]{5,99})"
    r"|\bOk:?\s+(?=[A-Z.-]*\d)(?=[\d.-]*[A-Z])(?P<bare>[A-Z0-9][A-Z0-9.-]{5,99})(?:\s|$)"
    r"|(?:^|\s)(?P<first>[A-Z0-9]{6,99}) Message accepted",
    re.IGNORECASE,
)
_RECIPIENTS_OWN = re.compile(r"45[01]|45\d 4\.[127]\.\d{1,3}")
"""Temporary refusals that concern the recipient or its server's policy, greylisting for example."""


def queue_id(text: str) -> str:
    """The id under which the server took the message, as Postfix, Exim, Exchange, sendmail and SES write it."""
    found = _QUEUE_ID.search(text)
    return next(filter(None, found.groups())) if found else ""


def code_of(reply: SMTPResponse) -> str:
    """The reply code, with the enhanced status code (RFC 3463) where there is one: "550 5.1.1"."""
    enhanced = _ENHANCED.match(reply.message)
    return f"{reply.code} {enhanced.group()}" if enhanced else str(reply.code)


def explain(kind: Kind, reply: SMTPResponse) -> Outcome:
    """The outcome of a reply that refuses."""
    return Outcome(
        kind=kind,
        detail=f"SMTP {code_of(reply)}",
        provider_text=reply.message,
        provider_code=code_of(reply),
        alert=kind in (Kind.UNAUTHORIZED, Kind.UNSUPPORTED),
    )


def positive(reply: SMTPResponse) -> bool:
    return 200 <= reply.code < 300


def sender_refused(reply: SMTPResponse) -> Outcome:
    if reply.code == _TOO_LARGE:
        return explain(Kind.REJECTED, reply)
    if reply.code in AUTHENTICATION_REQUIRED:
        return explain(Kind.UNAUTHORIZED, reply)
    return explain(Kind.THROTTLED if reply.code < 500 else Kind.UNSUPPORTED, reply)


def all_refused(replies: list[SMTPResponse]) -> Outcome:
    """One temporary refusal is enough to try elsewhere. The circuit learns nothing where it concerns the recipient."""
    for reply in replies:
        if reply.code in AUTHENTICATION_REQUIRED:
            return explain(Kind.UNAUTHORIZED, reply)
        if reply.code < 500:
            neutral = _RECIPIENTS_OWN.fullmatch(code_of(reply)) is not None
            return replace(explain(Kind.FAULTED, reply), neutral=neutral)
    return explain(Kind.REJECTED, replies[0])


def content_refused(reply: SMTPResponse) -> Outcome:
    return explain(Kind.FAULTED if reply.code < 500 else Kind.REJECTED, reply)
