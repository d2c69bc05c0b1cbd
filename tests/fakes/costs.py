"""Spendings without a database."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from relaypost_server.core.costs import Spending
from relaypost_server.core.message import Channel
from relaypost_server.core.ports import LogUnavailableError


def spending(**changes: Any) -> Spending:
    """One text message to the United States by SNS."""
    fields: dict[str, Any] = {
        "day": date(2026, 7, 1),
        "channel": Channel.SMS,
        "provider": "sns",
        "first_choice": "sns",
        "duplicate": False,
        "country": "US",
        "caller": "",
        "currency": "USD",
        "sends": 1,
        "units": 1,
        "estimated": 6_450,
        "billed": 0,
        "billed_sends": 0,
    } | changes
    return Spending(**{"unbilled": fields["estimated"], **fields})


@dataclass
class FakeCosts:
    """Knows what it is given; `available` may be taken away."""

    known: list[Spending] = field(default_factory=list)
    available: bool = True
    asked: list[tuple[date, date]] = field(default_factory=list)

    async def spendings(
        self, first: date, last: date, *, channel: Channel | None = None, by_caller: bool
    ) -> Sequence[Spending]:
        self.asked.append((first, last))
        if not self.available:
            raise LogUnavailableError
        return [s for s in self.known if first <= s.day <= last and channel in (None, s.channel)]
