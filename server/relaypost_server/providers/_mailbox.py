"""Writes names and addresses for headers (RFC 5322, section 3.4)."""

import re
from email.header import Header
from email.utils import quote

from relaypost_server.core.message import Address

LONGEST_WORD = 75
"""Characters of an encoded word (RFC 2047, section 2)."""

_PLAIN = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


def mailbox(address: Address) -> str:
    """The address, with its name in front where it has one."""
    return f"{_phrase(address.name)} <{address.email}>" if address.name else address.email


def encoded(text: str) -> str:
    """The text as encoded words, a space between two."""
    return Header(text, "utf-8").encode(maxlinelen=LONGEST_WORD, linesep="\n").replace("\n", "")


def _phrase(name: str) -> str:
    """As it is, quoted, or encoded where it is not ASCII or could be taken for an encoded word."""
    if not name.isascii() or "=?" in name:
        return encoded(name)
    return name if _PLAIN.fullmatch(name) else f'"{quote(name)}"'
