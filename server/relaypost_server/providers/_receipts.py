"""What the readers of receipts have in common."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parseaddr
from typing import Any
from uuid import UUID

import orjson

from relaypost_server.core.ports import CallbackRefusedError, Disbelief
from relaypost_server.core.suppression import comparable

MESSAGE_ID = "relaypost_message_id"
"""Under this name a message's id travels with it to the provider, and comes back."""


def ours(message_id: object) -> str | None:
    """The id of a message of a gateway in its canonical form; None where it is not one."""
    if not isinstance(message_id, str):
        return None
    try:
        found = UUID(message_id)
    except ValueError:
        return None
    return str(found) if found.version == 7 else None


def check_time(signed: datetime, now: datetime, window: float) -> None:
    """Raises CallbackRefusedError where the time that was signed is more than `window` seconds away."""
    if abs((now - signed).total_seconds()) > window:
        raise CallbackRefusedError(Disbelief.STALE)


def unix_time(seconds: object) -> datetime:
    """Raises CallbackRefusedError where it is no time of the years 1 to 9999."""
    if not isinstance(seconds, int | float | str):
        raise CallbackRefusedError(Disbelief.MALFORMED)
    try:
        return datetime.fromtimestamp(float(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        raise CallbackRefusedError(Disbelief.MALFORMED) from None


def iso_time(text: object) -> datetime:
    """A time of the form 2026-07-01T12:00:00.000Z. Raises CallbackRefusedError."""
    try:
        found = datetime.fromisoformat(text if isinstance(text, str) else "")
    except ValueError:
        raise CallbackRefusedError(Disbelief.MALFORMED) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def json_of(body: bytes | str) -> Any:
    """Raises CallbackRefusedError."""
    try:
        return orjson.loads(body)
    except ValueError:
        raise CallbackRefusedError(Disbelief.MALFORMED) from None


def mapping(value: object) -> Mapping[str, Any]:
    """The value where it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def addresses(given: Iterable[object]) -> tuple[str, ...]:
    """The addresses as they are compared, without names beside them; what is no address is left out."""
    texts = (parseaddr(text)[1] if "<" in text else text for text in given if isinstance(text, str))
    return tuple(comparable(text) for text in texts if text and text.isprintable())


def only(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """These of the values, free of NUL, which PostgreSQL refuses."""
    return {name: _clean(values[name]) for name in names if name in values}


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "") if "\0" in value else value
    if isinstance(value, dict):
        return {_clean(name): _clean(item) for name, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value
