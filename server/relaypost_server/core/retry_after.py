"""Reads the header Retry-After, whoever sent it."""

from datetime import datetime
from email.utils import parsedate_to_datetime


def parse_retry_after(value: str, now: datetime, *, longest: float) -> float | None:
    """Seconds to wait, from 0 to `longest`; None where the header says nothing usable.

    A number of seconds or an HTTP date (RFC 9110, section 10.2.3).
    """
    try:
        seconds = float(int(value))
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - now).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(seconds, longest) if seconds >= 0 else None
