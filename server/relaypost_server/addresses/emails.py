"""Email addresses, checked and brought into one form."""

import re

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from relaypost_server.addresses.errors import AddressError

SPECIAL_USE_DOMAIN_NAMES.clear()  # A gateway of one's own may well send to mail.local or localhost.

_PLAIN_EMAIL = re.compile(
    r"(?=.{6,254}\Z)(?=[^@]{1,64}@)[a-zA-Z0-9_+-]+(?:\.[a-zA-Z0-9_+-]+)*"
    r"@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}"
)
"""What nearly all addresses look like: valid, and in their final form as they stand."""


def parse_email(text: str) -> str:
    """The address in ASCII, its domain in lower case. Raises AddressError.

    Whether the domain takes mail is for the providers to find out.
    """
    if _PLAIN_EMAIL.fullmatch(text) and "--" not in text:
        return text
    if "=?" in text:  # Mail servers have been seen to decode it, and to find another address inside.
        raise AddressError("must not be an encoded word (RFC 2047)")
    try:
        found = validate_email(
            text, check_deliverability=False, allow_smtputf8=False, globally_deliverable=False, strict=True
        )
    except EmailNotValidError:
        raise AddressError("is not an email address such as ada@example.com") from None
    if found.ascii_email is None:
        raise AddressError("must be ASCII before the @")
    return found.ascii_email
