"""Writes names, addresses and other text for headers (RFC 5322, section 3.4; RFC 2047)."""

import re
from email.header import Header
from email.utils import quote

from relaypost_server.core.message import Address, Email

LONGEST_WORD = 75
"""Characters of an encoded word (RFC 2047, section 2)."""

_PLAIN = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")

_SPECIAL = re.compile(r'[()<>\[\]:;@\\,."]')
"""The specials of RFC 5322, section 3.2.3."""
_ODD_WORD = r"[^ ]*(?:[^\x00-\x7f]|=\?)[^ ]*"
_TO_ENCODE = re.compile(rf"{_ODD_WORD}(?: +{_ODD_WORD})*")
"""A run of words, with the spaces between: those between two encoded words are not shown (RFC 2047, section 6.2)."""


def mailbox(address: Address) -> str:
    """The address, with its name in front where it has one."""
    return f"{_phrase(address.name)} <{address.email}>" if address.name else address.email


def encoded(text: str) -> str:
    """The text as encoded words, a space between two."""
    return Header(text, "utf-8").encode(maxlinelen=LONGEST_WORD, linesep="\n").replace("\n", "")


def encoded_where_needed(text: str) -> str:
    """An unstructured header's value in ASCII: words that are not, or could be taken for encoded words, are encoded.

    The others stay as they are, so that an address or a URL beside them can still be read.
    """
    if text.isascii() and "=?" not in text:
        return text
    return _TO_ENCODE.sub(lambda run: encoded(run.group()), text)


def quoted_where_needed(name: str) -> str:
    """A name as a quoted string where it holds what means something between addresses. It may hold any letters."""
    return f'"{quote(name)}"' if _SPECIAL.search(name) else name


def everybody(email: Email) -> tuple[Address, ...]:
    """Its authors and its readers."""
    return (email.sender, *email.to, *email.cc, *email.bcc, *email.reply_to)


def _phrase(name: str) -> str:
    """As it is, quoted, or encoded where it is not ASCII or could be taken for an encoded word."""
    if not name.isascii() or "=?" in name:
        return encoded(name)
    return name if _PLAIN.fullmatch(name) else f'"{quote(name)}"'
