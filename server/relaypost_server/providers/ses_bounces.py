"""What a bounce of SES proves about each recipient.

SES calls a bounce "Transient" also where the recipient's server said that there is no such mailbox (fxa-content-server
#5629: Transient/General with status 5.0.0 or 5.3.0 and the diagnostic "550 5.1.1"), and gives one bounceType for all
recipients of a notification. What the server said outweighs it. Codes: RFC 3463 and IANA's registry of enhanced
status codes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relaypost_server.providers._enhanced_codes import NO_SUCH_MAILBOX
from relaypost_server.providers._receipts import addresses, mapping

_ENHANCED = re.compile(r"(?<!\d)(?<!\d\.)([245])\.(\d{1,3})\.(\d{1,3})(?!\.?\d)")
_REPLY = re.compile(r"(?<!\d)(?<!\d\.)55[013](?!\.?\d)")
_UNKNOWN = re.compile(
    r"(?:user|mailbox|recipient|address|account)[\w .<>@'\"-]{0,80}"
    r"(?:unknown|not found|does(?: not|n't) exist|not exist)|(?:unknown|no such) (?:user|mailbox|recipient|account)",
    re.IGNORECASE,
)
_SAYS_NOTHING = frozenset({"0", "3"})
"""Subjects without a meaning of their own: "other", and what the server's own system made of it."""


@dataclass(frozen=True, slots=True)
class Bounced:
    """Recipients of whom a bounce proves the same."""

    recipients: tuple[str, ...]
    """As addresses are compared."""
    permanent: bool
    outweighed: bool
    """SES's bounceType says otherwise."""
    detail: str
    """What a server said of the first; "" where SES repeats nothing."""


def parts(about: Mapping[str, Any]) -> Sequence[Bounced]:
    """The recipients of a bounce, at most in two parts: those who are gone, and those for whom a later message may
    fare better. Empty where the bounce names nobody.
    """
    listed = about.get("bouncedRecipients")
    recipients = [mapping(item) for item in listed] if isinstance(listed, list) else []
    said_permanent = about.get("bounceType") == "Permanent"
    found = []
    for permanent in (True, False):
        these = [r for r in recipients if _is_permanent(r, said_permanent) is permanent]
        if named := addresses(r.get("emailAddress") for r in these):
            found.append(Bounced(named, permanent, permanent is not said_permanent, detail(these)))
    return found


def detail(recipients: Sequence[Mapping[str, Any]]) -> str:
    """The first thing that a server said of one of them."""
    said = (r.get("diagnosticCode") or r.get("status") for r in recipients)
    return next((str(text) for text in said if text), "")


def _is_permanent(recipient: Mapping[str, Any], said_permanent: bool) -> bool:
    """Whether the recipient is gone: by the diagnostic, else by the status, else by SES's own word."""
    diagnostic, status = str(recipient.get("diagnosticCode") or ""), str(recipient.get("status") or "")
    for code in (_ENHANCED.search(diagnostic), _ENHANCED.search(status)):
        if code is None:
            continue
        if code[1] == "4":
            return False
        if code[0] in NO_SUCH_MAILBOX:
            return True
        if code[2] not in _SAYS_NOTHING:
            return said_permanent
    if _REPLY.search(diagnostic) and _UNKNOWN.search(diagnostic):
        return True
    return said_permanent
