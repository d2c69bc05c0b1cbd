"""What the core asks of the world about addresses that get no more messages."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from relaypost_server.core.ports import Callback
from relaypost_server.core.suppression import Change, Reply, Suppression, SuppressionQuery


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place in the history of the list."""

    since: int = 0
    """Everything before has been seen, in the database's own count; 0: nothing has."""
    page: tuple[int, str, str] = (0, "", "")
    """Within a look that takes more than one page: the last row of the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """A page of what has changed behind a cursor."""

    changes: Sequence[Change]
    horizon: int
    """What comes later is never before this place."""
    last: tuple[int, str, str] | None
    """The last row, where there is another page."""
    time: datetime
    """By the database's clock, by which suppressions end."""


class SuppressionStore(Protocol):
    """Where the list is kept, over all replicas. Every method raises LogUnavailableError."""

    async def changes(self, cursor: Cursor) -> Changes:
        """What has changed behind the cursor. A change may be told more than once, and is never left out."""
        ...

    async def put(self, suppressions: Sequence[Suppression]) -> int:
        """Puts addresses on the list as somebody wants them there; how many of them were not there like that."""
        ...

    async def note(self, suppressions: Sequence[Suppression]) -> int:
        """Puts addresses on the list of which a provider tells; how many were not there.

        Leaves alone what is there for as long or longer, and what was taken off later than it happened.
        """
        ...

    async def remove(self, address: str, caller: str) -> bool:
        """Takes an address off. False: it was not on the list."""
        ...

    async def find(self, address: str, caller: str) -> Suppression | None:
        """The suppression, if it is in force."""
        ...

    async def list(self, query: SuppressionQuery) -> Sequence[Suppression]:
        """At most `page_size` suppressions that are in force, by address and caller."""
        ...

    async def hear(self, reply: Reply) -> int:
        """Does as a person asks who wants no more messages, or wants them again; how many entries came or went.

        A reply counts once, by its id, in the order in which replies arrive: the database dates them, for Twilio
        tells no time. STOP is said to every caller whose messages the provider brought there of late; where none
        is known, to all.
        """
        ...

    async def claim_opt_outs(self, provider: str, *, every: float) -> bool:
        """Whether the provider's own list is to be read now: nobody has done so in the last `every` seconds."""
        ...

    async def replace_opt_outs(self, provider: str, addresses: Collection[str]) -> tuple[int, int]:
        """Makes the list agree with the provider's own, for all callers; how many came and how many went."""
        ...

    async def sweep(self) -> None:
        """Forgets what was taken off, or was over, so long ago that every replica knows."""
        ...


class OptOutsUnreadableError(Exception):
    """A provider's own list cannot be read now."""


@runtime_checkable
class OptOutReader(Protocol):
    """The third talent of some providers: a list of their own of numbers that get nothing."""

    name: str
    opt_outs_every: float
    """Seconds between two looks at it; 0: it is left alone."""

    async def opted_out(self) -> Collection[str]:
        """The whole list, in E.164. Raises OptOutsUnreadableError."""
        ...


@runtime_checkable
class ReplyReader(Protocol):
    """The fourth talent of some providers: they pass on what people write back."""

    def is_reply(self, head: Callback) -> bool:
        """Whether it brings a reply and no receipt, by its path and headers. The body is empty."""
        ...

    async def read_reply(self, callback: Callback) -> Reply | None:
        """The reply that the callback brings; None where it brings a receipt. Raises CallbackRefusedError."""
        ...
