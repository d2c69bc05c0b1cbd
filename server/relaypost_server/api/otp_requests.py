"""Reads what is asked of OtpService."""

import ipaddress
import re
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from relaypost.v1 import otp_service_pb2 as pb

from relaypost_server.api.addresses import read_email_address, read_phone
from relaypost_server.api.edge import Context
from relaypost_server.api.emails import read_mailbox
from relaypost_server.api.locales import note_unread
from relaypost_server.api.rendering import read_variables
from relaypost_server.api.request_keys import read_caller, read_confirm_within, read_guarantee, read_key
from relaypost_server.api.senders import read_sender_id
from relaypost_server.api.violations import Violations
from relaypost_server.core.message import Address, Channel
from relaypost_server.core.otp import (
    LONGEST_CODE,
    LONGEST_TTL,
    SHORTEST_CODE,
    SHORTEST_TTL,
    USUAL_CODE,
    USUAL_TTL,
    OtpRequest,
)

TEMPLATE = "otp"
"""Of requests that name none."""
NOBODY = str(UUID(int=0))
"""An id that no code has: what is no id at all is answered as an unknown one."""

_PURPOSE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NETWORK_BITS = 64
"""Of an IPv6 address: what one household has to itself."""


def read_otp_request(request: pb.SendOtpRequest, context: Context, bad: Violations) -> OtpRequest:
    """The request; its complaints are added to `bad`, and it must not be used if there are any."""
    channel, destination, country = _destination(request, bad)
    if not _PURPOSE.fullmatch(request.purpose):
        complaint = "must have 1 to 64 of letters, digits and ._-"
        bad.add("purpose", complaint if request.purpose else "is required")
    note_unread("locale", request.locale, bad)
    caller = read_caller(context, bad)
    read_key("SendOtp", request.request_id, caller, bad)
    guarantee = read_guarantee(request.delivery_guarantee, bad)
    ttl = _ttl(request.ttl, bad) if request.HasField("ttl") else USUAL_TTL
    within = read_confirm_within(request, guarantee, bad)
    if within is not None and within >= ttl:
        bad.add("confirm_within", "must be less than ttl")
    return OtpRequest(
        caller=caller,
        request_id=request.request_id,
        channel=channel,
        destination=destination,
        country=country,
        purpose=request.purpose,
        template=request.template or TEMPLATE,
        locale=request.locale,
        variables=read_variables("variables", request.variables, bad),
        length=_length(request.code_length, bad),
        ttl=ttl,
        guarantee=guarantee,
        confirm_within=within,
        sender=_sender(request, channel, bad) if request.HasField("sender") else None,
        sender_id=_sender_id(request, channel, bad) if request.sender_id else None,
    )


def _destination(request: pb.SendOtpRequest, bad: Violations) -> tuple[Channel, str, str]:
    """The channel, the address or number, and the number's country."""
    match request.WhichOneof("destination"):
        case "email_address":
            if not request.email_address:
                bad.add("email_address", "is required")
            return Channel.EMAIL, read_email_address("email_address", request.email_address, bad), ""
        case "phone":
            typed = request.phone
            phone = read_phone("phone.number", typed.number, "phone.region_code", typed.region_code, bad)
            return Channel.SMS, phone.number, phone.country
        case _:
            bad.add("destination", "is required: email_address or phone")
            return Channel.EMAIL, "", ""


def read_otp_id(value: str, bad: Violations) -> str:
    """The id in its canonical form, or one that no code has."""
    if not value:
        bad.add("otp_id", "is required")
    try:
        return str(UUID(value))
    except ValueError:
        return NOBODY


def read_client(value: str, bad: Violations) -> str:
    """Whose sends are counted together: an IPv4 address, or the network of an IPv6 address."""
    if not value:
        return ""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        bad.add("client_address", "is not an IP address")
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), _NETWORK_BITS), strict=False))


def _sender(request: pb.SendOtpRequest, channel: Channel, bad: Violations) -> Address | None:
    if channel is Channel.SMS:
        bad.add("sender", "is of emails: a text message takes a sender_id")
        return None
    return read_mailbox("sender", request.sender, bad)


def _sender_id(request: pb.SendOtpRequest, channel: Channel, bad: Violations) -> str | None:
    if channel is Channel.EMAIL and request.WhichOneof("destination") == "email_address":
        bad.add("sender_id", "is of text messages: an email takes a sender")
        return None
    return read_sender_id("sender_id", request.sender_id, bad) or None


def _length(value: int, bad: Violations) -> int:
    if value and not SHORTEST_CODE <= value <= LONGEST_CODE:
        bad.add("code_length", f"must be from {SHORTEST_CODE} to {LONGEST_CODE}, or 0 for {USUAL_CODE}")
        return USUAL_CODE
    return value or USUAL_CODE


def _ttl(value: Duration, bad: Violations) -> float:
    seconds = value.seconds + value.nanos / 1e9
    if not SHORTEST_TTL <= seconds <= LONGEST_TTL:
        bad.add("ttl", f"must be from {SHORTEST_TTL:.0f} s to {LONGEST_TTL:.0f} s")
        return USUAL_TTL
    return seconds
