"""One-time passwords, by email: their messages bear the gateway's id."""

from collections.abc import Sequence

from relaypost.v1 import otp_service_pb2 as pb

from tests.fakes.otp import code_of
from tests.sweep.scenarios.base import Scenario
from tests.sweep.world import Wanted, World


class _Otp(Scenario):
    async def _send(self, world: World) -> None:
        answer = await world.ask(self._sending())
        if answer is not None:
            world.notes["otp"] = answer.otp_id

    async def _verify(self, world: World) -> None:
        """Types the code of the last message."""
        codes = {code_of(body[body.index("Text") :]) for body in world.peers.bodies if "Text" in body}
        if len(codes) > 1:
            world.incidents.append(f"{len(codes)} codes for one request")
        if "otp" not in world.notes or not codes:
            return
        request = pb.VerifyOtpRequest(otp_id=world.notes["otp"], code=codes.pop())
        answer = await world.ask(
            Wanted(
                token="",
                method="OtpService/VerifyOtp",
                request=request,
                answer=pb.VerifyOtpResponse.FromString,
            )
        )
        if answer is not None and answer.verified:
            if world.notes.get("verified"):
                world.incidents.append("a code was verified twice")
            world.notes["verified"] = "yes"

    @staticmethod
    def _sending() -> Wanted:
        request = pb.SendOtpRequest(email_address="ada@example.com", purpose="signup", request_id="otp-1")
        return Wanted(
            token="otp-1",
            method="OtpService/SendOtp",
            request=request,
            answer=pb.SendOtpResponse.FromString,
            keyed=True,
            by_id=True,
        )


class SendAndVerify(_Otp):
    """A code is sent, and typed."""

    name = "otp send, verify"

    async def act(self, world: World) -> None:
        await self._send(world)
        await self._verify(world)

    async def repeat(self, world: World) -> None:
        if "otp" not in world.notes:
            answer = await world.repeat(self._sending())
            if answer is not None:
                world.notes["otp"] = answer.otp_id
        if not world.notes.get("verified"):
            await self._verify(world)


class Resend(_Otp):
    """A code is sent once more, and typed."""

    name = "otp resend"

    async def prepare(self, world: World) -> None:
        await self._send(world)
        await world.leap(31.0)

    async def act(self, world: World) -> None:
        answer = await world.ask(
            Wanted(
                token="",
                method="OtpService/ResendOtp",
                request=pb.ResendOtpRequest(otp_id=world.notes["otp"]),
                answer=pb.ResendOtpResponse.FromString,
            )
        )
        if answer is not None:
            await self._verify(world)

    def repeated(self, world: World) -> Sequence[Wanted]:
        return ()
