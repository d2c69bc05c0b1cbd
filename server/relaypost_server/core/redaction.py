"""Makes foreign text and addresses safe to show in logs, spans and errors."""

import re

_SCANNED = 2_000
"""Characters of foreign text that are looked at; the rest is never shown."""

# Each begins where a word does: tried at every letter of a long word, it would read the rest of the word again.
_ADDRESS = re.compile(r"(?<![^\s<>\"'(),;:=])[^\s<>\"'(),;:=]+@[^\s<>\"'(),;:]+")
_TOKEN = re.compile(r"(?<![\w+/.=-])(?=[\w+/.=-]*\d)(?=[\w+/.=-]*[A-Za-z])[\w+/.=-]{20,}")
"""Keys, signatures, session tokens: long runs that mix letters and digits."""
_NUMBER = re.compile(r"\+?\d(?:[\s().-]?\d){3,}")
"""Phone numbers, account numbers, one-time passwords: four digits or more."""


def printable(text: str, *, limit: int) -> str:
    """The text on one line, without control characters, at most `limit` characters."""
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text
    line = " ".join(text[:_SCANNED].split())
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def safe_text(text: str, *, limit: int) -> str:
    """A provider's words with addresses, tokens and long numbers taken out."""
    text = text[:_SCANNED]
    text = _ADDRESS.sub("[address]", text)
    text = _TOKEN.sub("[token]", text)
    text = _NUMBER.sub("[number]", text)
    return printable(text, limit=limit)


def mask(address: str) -> str:
    """An email address or phone number that its owner recognises and nobody else learns.

    "ada@example.com" becomes "a***@example.com", "+14155550123" becomes "+14***23".
    """
    local, at, domain = address.rpartition("@")
    if at:
        return f"{local[:1]}***@{domain}"
    return f"{address[:3]}***{address[-2:]}" if len(address) > 6 else "***"
