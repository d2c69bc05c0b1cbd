"""The sender and recipients of a message for MAIL and RCPT, and the extensions that these need.

RFC 6531 (SMTPUTF8), RFC 6152 (8BITMIME), RFC 1870 (SIZE).
"""

from aiosmtplib import SMTP

from relaypost_server.core.message import Email
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers._smtp_meanings import RefusedError


class Envelope:
    """An email's sender and recipients, and what its content needs of the server.

    The addresses are in the form of `addresses.emails.read_email`, which quotes local parts where that is necessary.
    """

    def __init__(self, email: Email, content: bytes) -> None:
        self.sender = email.envelope_sender or email.sender.email
        self.recipients = email.recipients
        self._size = len(content)
        self._eight_bit = not content.isascii()
        addresses = (self.sender, *self.recipients)
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


def rcpt(recipient: str) -> bytes:
    """The argument of RCPT."""
    return b"TO:<%s>" % recipient.encode()


def is_unusual(address: str) -> bool:
    """Whether a server may not know the form of the address: its local part is quoted, or not ASCII."""
    return address.startswith('"') or not address.isascii()


def _require(smtp: SMTP, extension: str, what: str) -> None:
    if not smtp.supports_extension(extension):
        detail = f"the server offers no {extension}, which {what} of the message needs"
        raise RefusedError(Outcome(kind=Kind.UNSUPPORTED, detail=detail))
