"""What a caller asked for: a message without what the gateway added to it.

Two gateways of one installation may have other templates and another default
sender for a while, during a rolling update. A repeated request is compared by
what its caller said, which is the same for both.
"""

from relaypost.v1 import email_pb2, sms_pb2

from relaypost_server.core.idempotency import Requested
from relaypost_server.core.message import Address, Email, Sms
from relaypost_server.core.value import replace

_NO_SENDER = Address(email="")


def requested_email(packed: email_pb2.Email, read: Email) -> Email | Requested:
    """`read`: what the gateway made of the email."""
    explicit = packed.HasField("sender")
    if explicit and not packed.template:
        return read
    content = read if explicit else replace(read, sender=_NO_SENDER)
    if packed.template:
        content = replace(content, subject="", text="", html="")
    return _requested(packed, content)


def requested_sms(packed: sms_pb2.Sms, read: Sms) -> Sms | Requested:
    """`read`: what the gateway made of the text message."""
    return _requested(packed, replace(read, text="")) if packed.template else read


def _requested(packed: email_pb2.Email | sms_pb2.Sms, content: Email | Sms) -> Requested:
    return Requested(content=content, template=packed.template, locale=packed.locale, variables=dict(packed.variables))
