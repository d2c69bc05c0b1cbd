"""Email addresses, checked and brought into one form."""

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote

from relaypost_server.addresses.errors import AddressError
from relaypost_server.core.adjustments import AdjustmentKind
from relaypost_server.core.characters import FULL_WIDTH, INVISIBLE

LONGEST_LOCAL = 64
"""Bytes before the @ (RFC 5321, section 4.5.3.1.1)."""
LONGEST = 254
"""Bytes of an address (RFC 5321, section 4.5.3.1.3, less the angle brackets)."""

_PLAIN_EMAIL = re.compile(
    r"(?=.{6,254}\Z)(?=[^@]{1,64}@)[a-zA-Z0-9_+-]+(?:\.[a-zA-Z0-9_+-]+)*"
    r"@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}"
)
"""What nearly all addresses look like: valid, and in their final form as they stand."""
_INVISIBLE_WITHIN = re.compile(f"[{INVISIBLE}]+")
_AROUND = re.compile(rf"^[\s\u200c\u200d{INVISIBLE}]+|[\s\u200c\u200d{INVISIBLE}]+\Z")
_WIDE = FULL_WIDTH | {0x3002: ord("."), 0xFF61: ord(".")}
"""What East Asian keyboards write for ASCII, and for the dot of a domain."""
_MAILTO = re.compile(r"mailto:(.*)", re.IGNORECASE | re.DOTALL)
_TRAILING = re.compile(r"[\s,;.]+\Z")
"""What follows an address in a list or a sentence. The dot of the root domain is no part of an address (RFC 5321)."""
_TWO_ADDRESSES = re.compile(r"@[^@]*[,; ][^@]*@")
_ATOM = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
_ATOMS_AND_DOTS = re.compile(rf"[.{_ATOM}]+")
_QUOTED = re.compile(rf'"[.{_ATOM}]+(?: [.{_ATOM}]+)*"')
"""Quoted local parts that no server can take for something else: without @, brackets, commas and backslashes."""
_NOT_ATOM = re.compile(rf"[\x00-\x7f](?<![.{_ATOM}])")
_SIGNS_IN_WORDS = "\u00b7\u0375\u05f3\u05f4\u30fb"
"""Parts of Catalan, Greek, Hebrew and Japanese words (RFC 5892, appendix A.3 to A.7)."""


Change = tuple[AdjustmentKind, str]
"""What was done to an address, and a sentence about it for people."""
_TRIMMED = (AdjustmentKind.TRIMMED, "spaces and invisible characters were dropped")
_NARROWED = (AdjustmentKind.REWRITTEN, "full-width characters were written as ASCII")
_UNLINKED = (AdjustmentKind.REWRITTEN, "the address was taken out of a mailto: link")
_NO_TRAILING = (AdjustmentKind.TRIMMED, "punctuation after the address was dropped")
_QUOTED_DOTS = (
    AdjustmentKind.REWRITTEN,
    "the part before the @ was quoted: its dots are at an end or side by side, which RFC 5321 allows only in quotes",
)


@dataclass(frozen=True, slots=True)
class ReadAddress:
    """An address in its final form, and what was changed for it."""

    address: str
    changes: tuple[Change, ...] = ()


def looks_like_email(text: str) -> bool:
    """Whether it is an email address rather than a phone number."""
    return "@" in text.translate(FULL_WIDTH)


def parse_email(text: str) -> str:
    """The address as `read_email` finds it. Raises AddressError."""
    return text if _is_plain(text) else read_email(text).address


def read_email(text: str) -> ReadAddress:
    """An address as people type and paste it. Raises AddressError.

    Its domain is ASCII, in lower case. The part before the @ may hold letters
    beyond ASCII (RFC 6531). It is quoted where its dots are at an end or side by
    side, which RFC 5321 allows only within quotes: Japanese carriers gave such
    addresses out. Whether the domain takes mail is not checked.
    """
    if _is_plain(text):
        return ReadAddress(text)
    changes: list[Change] = []
    address = _unwrapped(text, changes)
    local, at, domain = address.rpartition("@")
    if at and _has_odd_dots(local):
        local = f'"{local}"'
        changes.append(_QUOTED_DOTS)
    return ReadAddress(_checked(local + at + domain), tuple(changes))


def _unwrapped(text: str, changes: list[Change]) -> str:
    """The address alone, in narrow characters; adds to the changes. Raises AddressError."""
    trimmed = _INVISIBLE_WITHIN.sub("", _AROUND.sub("", text))
    if trimmed != text:
        changes.append(_TRIMMED)
    narrow = trimmed.translate(_WIDE)
    if narrow != trimmed:
        changes.append(_NARROWED)
    link = _MAILTO.fullmatch(narrow)
    if link:
        if "?" in link[1]:  # It may name more recipients (RFC 6068).
            raise AddressError("must be the address alone: remove mailto: and all after the ?")
        narrow = unquote(link[1])
        changes.append(_UNLINKED)
    alone = _TRAILING.sub("", narrow)
    if alone != narrow:
        changes.append(_NO_TRAILING)
    return alone


def _is_plain(text: str) -> bool:
    return _PLAIN_EMAIL.fullmatch(text) is not None and "--" not in text


def _has_odd_dots(local: str) -> bool:
    """Whether dots stand where RFC 5321 allows none outside quotes: at an end, or side by side."""
    odd = local.startswith(".") or local.endswith(".") or ".." in local
    return odd and _ATOMS_AND_DOTS.fullmatch(local) is not None and local.strip(".") != ""


def _checked(text: str) -> str:
    if "=?" in text:  # Mail servers have been seen to decode it, and to find another address inside.
        raise AddressError("must not be an encoded word (RFC 2047)")
    import email_validator  # `assembly.preload` loads it once the gateway serves: few addresses need it.

    email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()  # A gateway of one's own may well send to mail.local or localhost.
    try:
        found = email_validator.validate_email(
            text,
            check_deliverability=False,
            allow_smtputf8=True,
            allow_quoted_local=True,
            globally_deliverable=False,
            strict=True,
        )
    except email_validator.EmailNotValidError:
        raise AddressError(_reason(text)) from None
    local = found.local_part
    if len(local.encode()) > LONGEST_LOCAL:
        raise AddressError(f"has more than {LONGEST_LOCAL} bytes before the @")
    address = f"{local}@{found.ascii_domain}"
    if len(address.encode()) > LONGEST:
        raise AddressError(f"has more than {LONGEST} bytes")
    if local.startswith('"'):
        if not _QUOTED.fullmatch(local):
            raise AddressError("may hold letters, digits, dots and single spaces within quotes, and nothing else")
    elif not local.isascii():
        if _NOT_ATOM.search(unicodedata.normalize("NFKC", local)):
            raise AddressError("must not hold characters that look like signs of ASCII before the @")
        if any(map(_is_sign, local)):
            raise AddressError("must not hold punctuation or symbols beyond ASCII before the @, such as curly quotes")
    return address


def _is_sign(character: str) -> bool:
    """Whether it is punctuation or a symbol beyond ASCII, which a word processor may have put there."""
    return not character.isascii() and unicodedata.category(character)[0] in "PS" and character not in _SIGNS_IN_WORDS


def _reason(text: str) -> str:
    if "<" in text and ">" in text:
        return "must be the address alone, as in ada@example.com: a name goes into display_name"
    if _TWO_ADDRESSES.search(text):
        return "must be one address, not a list of addresses"
    if len(text.rpartition("@")[0].encode()) > LONGEST_LOCAL:
        return f"has more than {LONGEST_LOCAL} bytes before the @"
    if not text.isprintable():
        return "must not hold control characters or characters that are not shown"
    return "is not an email address such as ada@example.com"
