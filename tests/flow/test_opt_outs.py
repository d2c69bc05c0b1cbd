"""A provider's own list, read now and then by one of the replicas."""

from collections.abc import Collection
from dataclasses import dataclass, field

import pytest

from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.suppression_ports import OptOutsUnreadableError
from relaypost_server.flow.opt_outs import OptOuts
from tests.fakes.suppressions import NoSuppressions


@dataclass
class FakeReader:
    name: str = "sns"
    opt_outs_every: float = 3600.0
    numbers: list[str] = field(default_factory=lambda: ["+14155550100"])
    readable: bool = True
    reads: int = 0

    async def opted_out(self) -> Collection[str]:
        self.reads += 1
        if not self.readable:
            raise OptOutsUnreadableError("AWS answered AuthorizationError")
        return self.numbers


class FakeStore(NoSuppressions):
    """Grants claims as it is told."""

    def __init__(self, *claims: bool) -> None:
        self.claims = list(claims)
        self.replaced: list[list[str]] = []

    async def claim_opt_outs(self, provider: str, *, every: float) -> bool:
        assert (provider, every) == ("sns", 3600.0)
        return self.claims.pop(0)

    async def replace_opt_outs(self, provider: str, addresses: Collection[str]) -> tuple[int, int]:
        self.replaced.append(list(addresses))
        return len(addresses), 0


async def test_only_whoever_has_the_claim_reads() -> None:
    reader, store = FakeReader(), FakeStore(True, False)
    opt_outs = OptOuts(reader, store)
    await opt_outs.round()
    await opt_outs.round()
    assert (reader.reads, store.replaced) == (1, [["+14155550100"]])


async def test_a_list_that_cannot_be_read_changes_nothing() -> None:
    reader, store = FakeReader(readable=False), FakeStore(True)
    await OptOuts(reader, store).round()
    assert (reader.reads, store.replaced) == (1, [])


async def test_without_the_database_nobody_is_asked() -> None:
    reader = FakeReader()
    with pytest.raises(LogUnavailableError):
        await OptOuts(reader, NoSuppressions()).round()
    assert reader.reads == 0
