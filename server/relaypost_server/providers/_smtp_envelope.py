"""The sender and recipients of a message for MAIL and RCPT, and the extensions that these need.

RFC 6531 (SMTPUTF8), RFC 6152 (8BITMIME), RFC 1870 (SIZE).
"""

import re

from aiosmtplib import SMTP

from relaypost_server.core.message import Email
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers._smtp_meanings import RefusedError

_DOT_ATOM = re.compile(r"[^\s\"(),.:;<>@\[\]\\]+(?:\.[^\s\"(),.:;<>@\[\]\\]+)*")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


class Envelope:
    """An email's sender and recipients, and what its content needs of the server."""

    def __init__(self, email: Email, content: bytes) -> None:
        self.sender = path(email.envelope_sender or email.sender.email)
        self.recipients = {recipient: path(recipient) for recipient in email.recipients}
        self._size = len(content)
        self._eight_bit = not content.isascii()
        addresses = (self.sender, *self.recipients.values())
        headers = content.partition(b"\r\n\r\n")[0] if self._eight_bit else b""
        self._utf8 = not headers.isascii() or not all(a.isascii() for a in addresses)

    def mail(self, smtp: SMTP) -> tuple[bytes, ...]:
        """The arguments of MAIL. Raises RefusedError if the server lacks an extension that the message needs."""
        options = [b"SIZE=%d" % self._size] if smtp.supports_extension("size") else []
        if self._eight_bit or self._utf8:
            _require(smtp, "8BITMIME", "the content")
            options.append(b"BODY=8BITMIME")
        if self._utf8:
            _require(smtp, "SMTPUTF8", "an address")
            options.append(b"SMTPUTF8")
        return b"FROM:<%s>" % self.sender.encode(), *options

    def rcpt(self, recipient: str) -> bytes:
        """The argument of RCPT."""
        return b"TO:<%s>" % self.recipients[recipient].encode()


def path(address: str) -> str:
    """The address with its local part quoted where that is no dot-atom (RFC 5321, section 4.1.2): "a..b"."""
    local, at, domain = address.rpartition("@")
    if _DOT_ATOM.fullmatch(local) or _QUOTED.fullmatch(local):
        return address
    escaped = re.sub(r'(["\\])', r"\\\1", local)
    return f'"{escaped}"{at}{domain}'


def is_unusual(address: str) -> bool:
    """Whether a server may not know the form of the address: its local part is quoted, or not ASCII."""
    return address.startswith('"') or not address.isascii()


def _require(smtp: SMTP, extension: str, what: str) -> None:
    if not smtp.supports_extension(extension):
        detail = f"the server offers no {extension}, which {what} of the message needs"
        raise RefusedError(Outcome(kind=Kind.UNSUPPORTED, detail=detail))
