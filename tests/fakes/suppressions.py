"""A suppression list whose database is away."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.suppression import SuppressionPolicy, SuppressionReason
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.suppressions import Suppressions
from relaypost_server.telemetry.metrics import Metrics


class NoSuppressions:
    """A `SuppressionStore` whose database is away."""

    async def changes(self, *_: Any, **__: Any) -> Any:
        raise LogUnavailableError

    put = note = remove = find = list = hear = claim_opt_outs = replace_opt_outs = sweep = changes


def without_database() -> Suppressions:
    """A list of which nothing is known."""
    return Suppressions(
        NoSuppressions(),
        refresh_seconds=3600.0,
        policy=SuppressionPolicy(),
        metrics=Metrics(),
        clock=Clock(),
    )


@dataclass
class FakeScreen:
    """Suppresses whom it is told to, whoever asks, and keeps what it is told."""

    suppressed: dict[str, SuppressionReason] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """The callers."""
    opted: list[tuple[str, str]] = field(default_factory=list)
    """Recipient and provider."""
    gone: list[tuple[str, str]] = field(default_factory=list)
    """Recipient and provider."""

    def among(self, caller: str, recipients: Any) -> Mapping[str, SuppressionReason]:
        self.asked.append(caller)
        return {r: self.suppressed[r] for r in recipients if r in self.suppressed}

    def opted_out(self, message: Any, provider: str) -> None:
        self.opted += [(r, provider) for r in message.content.recipients]

    def bounced(self, message: Any, provider: str, recipients: Any) -> None:
        self.gone += [(r, provider) for r in recipients]
