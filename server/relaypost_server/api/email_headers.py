"""Reads the headers and the tags of an email."""

import re
from collections.abc import Mapping

from relaypost_server.api.violations import Violations
from relaypost_server.core.adjustments import AdjustmentKind
from relaypost_server.core.pasted import repair_line

MOST_HEADERS = 15
MOST_TAGS = 10
LONGEST_HEADER = 996

_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,76}")
_TAG = re.compile(r"[A-Za-z0-9_-]{1,128}")
_OUR_HEADERS = frozenset(
    {"from", "to", "cc", "bcc", "sender", "reply-to", "subject", "date", "message-id", "mime-version"}
    | {"received", "return-path", "dkim-signature", "delivered-to"}
)
_OUR_PREFIXES = ("content-", "resent-", "arc-", "x-relaypost-", "x-sg-", "x-ses-", "x-amz-")
_COMMANDS = ("x-smtpapi", "x-msys-", "x-mc-")
"""SendGrid, SparkPost and Mandrill obey these where they are the SMTP server: they can add recipients."""


def read_headers(headers: Mapping[str, str], bad: Violations) -> Mapping[str, str]:
    """The headers, in the order of the request; nothing where there are too many."""
    if not headers:
        return {}
    if len(headers) > MOST_HEADERS:
        bad.add("email.headers", f"has {len(headers)} headers, at most {MOST_HEADERS} are allowed")
        return {}
    lowered = [name.lower() for name in headers]
    if len(set(lowered)) < len(lowered):
        bad.add("email.headers", "holds a name twice, in upper and lower case")
    found = {}
    for position, (name, value) in enumerate(sorted(headers.items()), start=1):
        if not _HEADER_NAME.fullmatch(name):
            bad.add(f"email.headers (key {position} by name)", "must have 1 to 76 of letters, digits and -")
        elif _is_reserved(name.lower()):
            bad.add(f'email.headers["{name}"]', "is a header that the gateway or the provider writes")
        else:
            found[name] = _value(name, value, bad)
    return {name: found[name] for name in headers if name in found}


def _value(name: str, value: str, bad: Violations) -> str:
    field = f'email.headers["{name}"]'
    repaired = bad.repaired(field, repair_line(value))
    text = repaired.strip(" ")
    if text and text != repaired:
        bad.adjusted(field, AdjustmentKind.TRIMMED, "spaces around it were dropped")
    if len(name) + len(text) > LONGEST_HEADER:
        bad.add(field, f"must have at most {LONGEST_HEADER} characters with its name")
    else:
        bad.line(field, text, longest=LONGEST_HEADER, required=True)
    return text


def _is_reserved(name: str) -> bool:
    return name in _OUR_HEADERS or name.startswith(_OUR_PREFIXES + _COMMANDS)


def read_tags(tags: Mapping[str, str], bad: Violations) -> Mapping[str, str]:
    """The tags; nothing where there are too many."""
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
