"""Pages of lists that run from the newest message to the oldest."""

import base64
import binascii
from uuid import UUID

from relaypost_server.api.violations import Violations

DEFAULT_PAGE, LARGEST_PAGE = 50, 500


def read_page_size(value: int, bad: Violations) -> int:
    """How many entries a page may have."""
    if not 0 <= value <= LARGEST_PAGE:
        bad.add("page_size", f"must be from 1 to {LARGEST_PAGE}, or 0 for {DEFAULT_PAGE}")
    return value or DEFAULT_PAGE


def page_token(last: str) -> str:
    """What names the page after the message `last`."""
    return base64.urlsafe_b64encode(UUID(last).bytes).decode().rstrip("=")


def read_cursor(token: str, bad: Violations) -> str | None:
    """The message after which the page begins; None for the first page."""
    if not token:
        return None
    try:
        return str(UUID(bytes=base64.b64decode(token + "==", altchars=b"-_", validate=True)))
    except (ValueError, binascii.Error):
        bad.add("page_token", "is not a token of ours")
        return None
