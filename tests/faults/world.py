"""A gateway with a fake in the place of every provider."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from relaypost import AsyncClient
from relaypost.v1 import message_pb2, messaging_service_pb2 as pb, provider_health_pb2

from tests.e2e.gateway import Gateway, gateway
from tests.faults.providers import EMAIL_CHAIN, EVERY, SMS_CHAIN, Providers, providers

KEYED_SENDS = "request_id" in pb.SendEmailRequest.DESCRIPTOR.fields_by_name
"""Whether this version of the API has request ids."""
LEASE_SECONDS = 6
_SHORT_LEASE = {
    "RELAYPOST_LEASE_SECONDS": str(LEASE_SECONDS),
    "RELAYPOST_LONGEST_DEADLINE_SECONDS": "4",
    "RELAYPOST_DEFAULT_DEADLINE_SECONDS": "4",
}
SHORT_LEASE: dict[str, str] = _SHORT_LEASE if KEYED_SENDS else {}
"""Settings under which what a killed gateway left behind is settled soon."""
_tokens = itertools.count()


@dataclass
class World:
    """The gateway, its client, and the providers behind it."""

    gateway: Gateway
    client: AsyncClient
    providers: Providers
    environ: dict[str, str] = field(default_factory=dict)

    async def email(self, *, token: str = "", **changes: object) -> message_pb2.Message:
        token = token or f"t{next(_tokens)}"
        fields: dict[str, object] = {
            "to": "ada@example.com",
            "subject": f"Your code token={token}",
            "text": "Your code is 482915",
            "metadata": {"token": token},
        }
        return await self.client.send_email(**fields | changes)  # type: ignore[arg-type]

    async def sms(self, *, token: str = "", **changes: object) -> message_pb2.Message:
        token = token or f"t{next(_tokens)}"
        fields: dict[str, object] = {
            "to": "+14155550123",
            "text": f"Your code is 482915 token={token}",
            "metadata": {"token": token},
        }
        return await self.client.send_sms(**fields | changes)  # type: ignore[arg-type]

    async def send(self, provider: str, **changes: object) -> message_pb2.Message:
        """A message of the channel that the provider serves."""
        return await (self.email if provider in EMAIL_CHAIN else self.sms)(**changes)  # type: ignore[arg-type]

    async def health(self, provider: str) -> provider_health_pb2.ProviderHealth:
        channels = (await self.client.provider_health()).channels
        return next(p for c in channels for p in c.providers if p.provider == provider)

    def memory(self) -> int:
        """The most bytes of memory that the gateway has used since it began."""
        status = Path(f"/proc/{self.gateway.process.pid}/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def first(provider: str) -> dict[str, str]:
    """The settings that put the provider at the head of its chain."""
    ranks = (name for name in EVERY if name != provider)
    return {
        f"RELAYPOST_{provider.upper()}_PRIORITY": "1",
        **{f"RELAYPOST_{name.upper()}_PRIORITY": str(rank) for rank, name in enumerate(ranks, start=2)},
    }


def every(setting: str, value: str) -> dict[str, str]:
    """The same setting for every provider."""
    return {f"RELAYPOST_{name.upper()}_{setting}": value for name in EVERY}


def behind(provider: str) -> str:
    """The provider that is asked next, where this one is `first`."""
    chain = EMAIL_CHAIN if provider in EMAIL_CHAIN else SMS_CHAIN
    return next(name for name in chain if name != provider)


@asynccontextmanager
async def world(database: str, *environ: dict[str, str], within: Sequence[str] = ()) -> AsyncIterator[World]:
    """Its attempts take at most a second, so that what hangs does not hold up the tests."""
    async with providers() as fakes:
        merged = fakes.environ() | every("TIMEOUT_SECONDS", "1")
        for part in environ:
            merged |= part
        async with gateway(merged, database=database, within=within) as running, AsyncClient(running.grpc) as client:
            yield World(running, client, fakes, merged)


def kinds(message: message_pb2.Message) -> list[tuple[str, str]]:
    """What each attempt came to."""
    name = message_pb2.OutcomeKind.Name
    return [(a.provider, name(a.kind).removeprefix("OUTCOME_KIND_")) for a in message.attempts]


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Waits for something that happens elsewhere."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
