"""What a queued message says, as bytes."""

from base64 import b64decode, b64encode
from typing import Any

import orjson

from relaypost_server.core.message import Address, Attachment, Email, IndiaDlt, Sms, SmsType, Tracking
from relaypost_server.core.money import Money

_ADDED_SINCE_0_1 = frozenset({"envelope_sender", "tracking", "sender_number", "india_dlt"})


class UnreadableError(ValueError):
    """The bytes were written by no version that this one knows."""


def write(content: Email | Sms) -> bytes:
    """The content with everything that a provider needs of it.

    Fields that 0.1 did not know are left out where they are empty: a worker of an earlier release reads the rest.
    """
    fields = {name: getattr(content, name) for name in content.__slots__}
    given = {name: value for name, value in fields.items() if value or name not in _ADDED_SINCE_0_1}
    return orjson.dumps({"channel": content.channel, "content": given}, default=_bytes)


def read(data: bytes) -> Email | Sms:
    """What `write` was given. Raises UnreadableError."""
    try:
        document = orjson.loads(data)
        fields: dict[str, Any] = document["content"]
        return _email(fields) if document["channel"] == Email.channel else _sms(fields)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise UnreadableError(type(error).__name__) from None


def _bytes(value: object) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    raise TypeError(type(value).__name__)


def _email(fields: dict[str, Any]) -> Email:
    people = {name: tuple(Address(**a) for a in fields[name]) for name in ("to", "cc", "bcc", "reply_to")}
    files = tuple(Attachment(**{**a, "content": b64decode(a["content"])}) for a in fields["attachments"])
    tracking = fields.get("tracking")
    return Email(
        **{
            **fields,
            **people,
            "sender": Address(**fields["sender"]),
            "attachments": files,
            "tracking": Tracking(tracking) if tracking else None,
        }
    )


def _sms(fields: dict[str, Any]) -> Sms:
    limit, india_dlt = fields["max_price"], fields.get("india_dlt")
    return Sms(
        **{
            **fields,
            "type": SmsType(fields["type"]),
            "max_price": Money(**limit) if limit else None,
            "india_dlt": IndiaDlt(**india_dlt) if india_dlt else None,
        }
    )
