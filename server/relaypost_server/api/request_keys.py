"""Reads the names of requests, callers and messages, and what was chosen for them."""

import re
from collections.abc import Mapping
from uuid import UUID

from relaypost.v1 import message_pb2, messaging_service_pb2, otp_service_pb2

from relaypost_server.api import pack
from relaypost_server.api.edge import Context
from relaypost_server.api.violations import Violations
from relaypost_server.core.idempotency import RequestKey
from relaypost_server.core.message import Channel, Guarantee
from relaypost_server.core.silence import LONGEST, SHORTEST

_Confirmable = messaging_service_pb2.SendSmsRequest | otp_service_pb2.SendOtpRequest
CALLER = "relaypost-caller"
"""The metadata key by which a service says who it is. Its word is taken: who may call is the network's to say."""
_REQUEST_ID = re.compile(r"[!-~]{1,255}")
_CALLER = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CHANNELS = {packed: channel for channel, packed in pack.CHANNELS.items()}
_GUARANTEES = {
    message_pb2.DELIVERY_GUARANTEE_UNSPECIFIED: Guarantee.AT_LEAST_ONCE,
    **{packed: guarantee for guarantee, packed in pack.GUARANTEES.items()},
}


def read_key(method: str, request_id: str, caller: str, bad: Violations) -> RequestKey | None:
    """The key of a caller's request that has a request_id."""
    if not request_id:
        return None
    check_request_id(request_id, bad)
    return RequestKey(caller=caller, method=method, request_id=request_id)


def check_request_id(request_id: str, bad: Violations) -> None:
    """Complains of a name that no request can have."""
    if not _REQUEST_ID.fullmatch(request_id):
        bad.add("request_id", "must have 1 to 255 printable ASCII characters, and no space")


def read_caller(context: Context, bad: Violations) -> str:
    """Who calls; "" for those who do not say."""
    for name, value in context.invocation_metadata() or ():
        if name == CALLER:
            caller = value if isinstance(value, str) else ""
            if not _CALLER.fullmatch(caller):
                bad.add(f"metadata {CALLER}", "must have 1 to 64 of letters, digits and ._-")
            return caller
    return ""


def read_channel(field: str, value: "message_pb2.Channel.ValueType", bad: Violations) -> Channel | None:
    """The channel that is asked for; None for any."""
    if value and value not in _CHANNELS:
        bad.add(field, "is not a known channel")
    return _CHANNELS.get(value)


def read_message_id(value: str, bad: Violations) -> str:
    """The id in its canonical form."""
    return read_id("message_id", value, bad)


def read_id(field: str, value: str, bad: Violations) -> str:
    """A UUID in its canonical form."""
    try:
        return str(UUID(value))
    except ValueError:
        bad.add(field, f"is not a {field.replace('_', ' ')}" if value else "is required")
        return ""


def read_confirm_within(request: _Confirmable, guarantee: Guarantee, bad: Violations) -> float | None:
    """Seconds to wait for a confirmation; None not to wait."""
    if not request.HasField("confirm_within"):
        return None
    seconds = request.confirm_within.seconds + request.confirm_within.nanos / 1e9
    if not SHORTEST <= seconds <= LONGEST:
        bad.add("confirm_within", f"must be from {SHORTEST:.0f} s to {LONGEST:.0f} s")
    if guarantee is Guarantee.AT_MOST_ONCE:
        bad.add("confirm_within", "may send a second copy, which delivery_guarantee AT_MOST_ONCE rules out")
    return seconds


def read_metadata(values: Mapping[str, str], bad: Violations) -> dict[str, str]:
    """The caller's own notes."""
    return bad.repaired_mapping("metadata", values, most=20, key=64, value=512) if values else {}


def read_guarantee(value: "message_pb2.DeliveryGuarantee.ValueType", bad: Violations) -> Guarantee:
    """What to do when a provider's answer is lost."""
    if value not in _GUARANTEES:
        bad.add("delivery_guarantee", "is not a known guarantee")
    return _GUARANTEES.get(value, Guarantee.AT_LEAST_ONCE)
