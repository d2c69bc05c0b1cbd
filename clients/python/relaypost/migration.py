"""The three methods of an OTP service of one's own, on top of the gateway.

For programs that called `send_otp_sms`, `send_otp_email` and
`get_messaging_health`: they keep their calls and lose the code behind them. New
programs use `AsyncClient.send_otp` and `verify_otp`.
"""

from typing import Any

from google.protobuf.json_format import MessageToDict
from relaypost._async_client import AsyncClient
from relaypost.v1 import otp_service_pb2 as pb


class OtpService:
    """Sends codes through the gateway, which makes them: no code passes through here before it is typed."""

    def __init__(self, client: AsyncClient, *, purpose: str = "verification", app: str = "") -> None:
        """`purpose`: of codes for which none is named. `app`: the product's name; default: the gateway's setting."""
        self._client = client
        self._purpose = purpose
        self._variables = {"app": app} if app else {}

    async def send_otp_sms(
        self, phone: str, *, purpose: str = "", locale: str = "", client_address: str = ""
    ) -> pb.SendOtpResponse:
        """Sends a code as a text message; keep the answer's `otp_id`. Raises as `AsyncClient.send_otp` does."""
        return await self._client.send_otp(
            phone=phone,
            purpose=purpose or self._purpose,
            locale=locale,
            variables=self._variables,
            client_address=client_address,
        )

    async def send_otp_email(
        self, email: str, *, purpose: str = "", locale: str = "", client_address: str = ""
    ) -> pb.SendOtpResponse:
        """Sends a code by email; keep the answer's `otp_id`. Raises as `AsyncClient.send_otp` does."""
        return await self._client.send_otp(
            email=email,
            purpose=purpose or self._purpose,
            locale=locale,
            variables=self._variables,
            client_address=client_address,
        )

    async def verify_otp(self, otp_id: str, code: str) -> pb.VerifyOtpResponse:
        """What a right code proved. Raises OtpNotVerifiedError for any other."""
        return await self._client.verify_otp(otp_id, code)

    async def get_messaging_health(self) -> dict[str, Any]:
        """The state of every provider, in the form of the gateway's /health/messaging."""
        return MessageToDict(await self._client.provider_health(), always_print_fields_with_no_presence=True)
