"""What becomes of a message after a provider took it, and who hears of it."""

from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import urlencode

from google.protobuf.duration_pb2 import Duration
from twilio.request_validator import RequestValidator

from tests.providers import vendor_events
from tests.providers.configured import SECRETS
from tests.signing import PUBLIC_URL
from tests.sweep.scenarios.base import Scenario, hook, send_email, send_sms
from tests.sweep.world import Wanted, World

_TWILIO_FIRST = {
    "RELAYPOST_PUBLIC_URL": PUBLIC_URL,
    "RELAYPOST_TWILIO_PRIORITY": "1",
    "RELAYPOST_SNS_PRIORITY": "2",
}


class Receipt(Scenario):
    """The provider reports that a message was delivered, and repeats that until it is heard."""

    name = "receipt"
    settings: ClassVar[Mapping[str, str]] = _TWILIO_FIRST

    async def prepare(self, world: World) -> None:
        await hook(world)
        answer = await world.ask(send_sms("r1"))
        world.notes["id"] = answer.message.message_id
        world.watch(world.notes["id"])
        await world.leap(2.0)

    async def act(self, world: World) -> None:
        await self._report(world)
        await world.leap(2.0)

    async def repeat(self, world: World) -> None:
        for _ in range(6):
            if world.notes.get("heard"):
                return
            await self._report(world)
            await world.leap(6.0)

    async def _report(self, world: World) -> None:
        path = f"/callbacks/twilio?message_id={world.notes['id']}"
        form = vendor_events.twilio("delivered", MessageSid="id-1")
        signature = RequestValidator(SECRETS["TWILIO_AUTH_TOKEN"]).compute_signature(PUBLIC_URL + path, form)
        headers = {"x-twilio-signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
        status = await world.post(path, headers, urlencode(form).encode())
        if 200 <= status < 300:
            world.notes["heard"] = "yes"
        elif status not in (0, 503):
            world.incidents.append(f"a genuine receipt was answered {status}")


class Confirmation(Scenario):
    """Nothing confirms a message in time, and a second copy goes out."""

    name = "confirmation resend"
    settings: ClassVar[Mapping[str, str]] = _TWILIO_FIRST

    async def act(self, world: World) -> None:
        await world.ask(self._wanted())
        for _ in range(4):
            await world.leap(3.0)

    def repeated(self, world: World) -> Sequence[Wanted]:
        return (self._wanted(),)

    @staticmethod
    def _wanted() -> Wanted:
        return send_sms("c1", keyed=True, confirm_within=Duration(seconds=5))


class Webhook(Scenario):
    """A message is sent, and its caller is told by webhook."""

    name = "webhook"

    async def prepare(self, world: World) -> None:
        await hook(world)

    async def act(self, world: World) -> None:
        await world.ask(send_email("h1", keyed=True))
        for _ in range(3):
            await world.leap(2.0)

    def repeated(self, world: World) -> Sequence[Wanted]:
        return (send_email("h1", keyed=True),)
