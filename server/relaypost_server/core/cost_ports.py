"""What reports of costs ask of the world."""

from collections.abc import Sequence
from datetime import date
from typing import Protocol

from relaypost_server.core.costs import Spending
from relaypost_server.core.message import Channel


class CostLog(Protocol):
    """Where it is kept what messages cost, over all replicas."""

    async def spendings(
        self, first: date, last: date, *, channel: Channel | None = None, by_caller: bool
    ) -> Sequence[Spending]:
        """What messages cost that were taken on from the first to the last of these days of UTC.

        Raises LogUnavailableError.
        """
        ...
