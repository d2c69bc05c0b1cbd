"""Client of Relaypost, the messaging gateway.

    from relaypost import Client

    with Client("127.0.0.1:50051") as relaypost:
        message = relaypost.send_email(to="ada@example.com", subject="Hello", text="Hi Ada")
        print(message.provider, [a.provider for a in message.attempts])

    sent = relaypost.send_otp(phone="+14155550123", purpose="sign_in")
    proven = relaypost.verify_otp(sent.otp_id, "483920")

`AsyncClient` has the same methods as coroutines. The generated stubs are in
`relaypost.v1`.
"""

from relaypost._async_client import AsyncClient
from relaypost._client import Client
from relaypost._queue_requests import bulk_email, bulk_sms
from relaypost._requests import Address, Attachment, IndiaDlt
from relaypost.errors import (
    InvalidRequestError,
    OtpLimitError,
    OtpNotVerifiedError,
    RelaypostError,
    SendFailedError,
)

__all__ = [
    "Address",
    "AsyncClient",
    "Attachment",
    "Client",
    "IndiaDlt",
    "InvalidRequestError",
    "OtpLimitError",
    "OtpNotVerifiedError",
    "RelaypostError",
    "SendFailedError",
    "bulk_email",
    "bulk_sms",
]
