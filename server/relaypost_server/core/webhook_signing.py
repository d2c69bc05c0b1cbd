"""Signs webhooks as the Standard Webhooks specification says (version 1.0.0, "Signature scheme").

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac
from collections.abc import Iterable

SECRET_BYTES = 32
"""Of a new secret; the specification asks for 24 to 64."""
PREFIX = "whsec_"


def shown(secret: bytes) -> str:
    """A secret as its owner is given it."""
    return PREFIX + base64.b64encode(secret).decode()


def headers(event_id: str, timestamp: int, body: bytes, secrets: Iterable[bytes]) -> dict[str, str]:
    """The three headers. `timestamp`: when the attempt is made, in seconds since 1970.

    One signature for each secret: during a rotation the receiver may know either.
    """
    signed = f"{event_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{_signature(secret, signed)}" for secret in secrets),
    }


def _signature(secret: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
