"""The content of a request as the caller gave it, for the fingerprint.

Two gateways of one installation may have other templates and another default
sender for a while, during a rolling update. The caller's own fields are the same
for both, so a repeated request is compared by these.
"""

from relaypost.v1 import email_pb2, sms_pb2

from relaypost_server.api.emails import asked_tracking
from relaypost_server.core.idempotency import Requested
from relaypost_server.core.message import Address, Email, Sms
from relaypost_server.core.value import replace

_NO_SENDER = Address(email="")


def requested_email(packed: email_pb2.Email, read: Email) -> Email | Requested:
    """`read`: the same email with the template rendered and the default sender filled in."""
    explicit = packed.HasField("sender")
    if explicit and not packed.template:
        return read
    content = read if explicit else replace(read, sender=_NO_SENDER)
    if packed.template:
        content = replace(content, subject="", text="", html="", tracking=asked_tracking(packed))
    return _requested(packed, content)


def requested_sms(packed: sms_pb2.Sms, read: Sms) -> Sms | Requested:
    """`read`: the same text message with the template rendered."""
    if not packed.template:
        return read
    encoding = "gsm7" if packed.encoding == sms_pb2.SMS_ENCODING_GSM7 else ""
    return _requested(packed, replace(read, text=""), encoding)


def _requested(packed: email_pb2.Email | sms_pb2.Sms, content: Email | Sms, encoding: str = "") -> Requested:
    return Requested(
        content=content,
        template=packed.template,
        locale=packed.locale,
        variables=dict(packed.variables),
        encoding=encoding,
    )
