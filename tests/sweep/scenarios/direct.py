"""Messages that are sent while their caller waits."""

from collections.abc import Sequence

from relaypost.v1 import admin_service_pb2 as admin

from tests.sweep.link import PEER as DATABASE
from tests.sweep.scenarios.base import Scenario, send_email, send_sms
from tests.sweep.steps import Mode
from tests.sweep.world import Wanted, World


class Unkeyed(Scenario):
    """An email at least once, a text message at most once."""

    name = "unkeyed send"

    async def act(self, world: World) -> None:
        await world.ask(send_email("u1"))
        await world.ask(send_sms("u2", at_most_once=True))


class Keyed(Scenario):
    """The same with a request_id, and the first repeated at once."""

    name = "keyed send"

    async def act(self, world: World) -> None:
        for wanted in self.repeated(world):
            await world.ask(wanted)
        if world.told["k1"].answer == "sent":
            await world.ask(send_email("k1", keyed=True))

    def repeated(self, world: World) -> Sequence[Wanted]:
        return send_email("k1", keyed=True), send_sms("k2", keyed=True, at_most_once=True)


class Failover(Scenario):
    """The first provider of each channel fails."""

    name = "failover"

    async def prepare(self, world: World) -> None:
        world.peers.faults.update(ses=1, sns=1)

    async def act(self, world: World) -> None:
        for wanted in (*self.repeated(world), send_sms("f2")):
            await world.ask(wanted)

    def repeated(self, world: World) -> Sequence[Wanted]:
        return (send_email("f1", keyed=True),)


class Spooled(Scenario):
    """The database is away while two messages are sent, and comes back."""

    name = "spool"

    async def prepare(self, world: World) -> None:
        world.trouble.begin(DATABASE, Mode.GONE)
        await world.leap(1.0)

    async def act(self, world: World) -> None:
        await world.ask(send_email("s1"))
        await world.leap(1.0)
        await world.ask(send_sms("s2", at_most_once=True))
        if not world.steps.fired:
            world.trouble.end(DATABASE)
        for _ in range(3):
            await world.leap(2.0)


class Resolve(Scenario):
    """An operator finds that an unconfirmed message was not sent, and its caller sends it again."""

    name = "resolve"

    async def prepare(self, world: World) -> None:
        world.peers.losses["ses"] = 1
        answer = await world.ask(send_email("x1", keyed=True, at_most_once=True))
        world.notes["id"] = answer.message.message_id

    async def act(self, world: World) -> None:
        await self._resolve(world)
        if world.notes.get("resolved"):
            await world.ask(send_email("x1", keyed=True, at_most_once=True))

    async def repeat(self, world: World) -> None:
        if not world.notes.get("resolved"):
            await self._resolve(world)
        await world.repeat(send_email("x1", keyed=True, at_most_once=True))

    async def _resolve(self, world: World) -> None:
        request = admin.ResolveMessageRequest(message_id=world.notes["id"], resolution=admin.RESOLUTION_NOT_SENT)
        answer = await world.ask(
            Wanted(
                token="",
                method="AdminService/ResolveMessage",
                request=request,
                answer=admin.ResolveMessageResponse.FromString,
            )
        )
        if answer is not None:
            world.notes["resolved"] = "yes"
