"""The first start."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from tests.sweep.scenarios.base import Scenario, send_email
from tests.sweep.world import Wanted, World


class Migration(Scenario):
    """A gateway makes its schema, and sends."""

    name = "migration"
    settings: ClassVar[Mapping[str, str]] = {"RELAYPOST_AUTO_MIGRATE": "true"}
    migrated = False

    async def act(self, world: World) -> None:
        await world.start_gateway(home=world.home)
        await world.leap(1.0)
        await world.ask(send_email("m1"))
        await world.ask(send_email("m2", keyed=True))

    def repeated(self, world: World) -> Sequence[Wanted]:
        return (send_email("m2", keyed=True),)


class Background(Scenario):
    """Nothing happens but what gateways do by themselves."""

    name = "background"

    async def act(self, world: World) -> None:
        for _ in range(2):
            await world.leap(31.0)
