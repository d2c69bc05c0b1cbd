"""How much of what a provider takes arrives, as its receipts tell, and when that is too little."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from relaypost_server.core.delivery import UNDELIVERED, Blame, EventType, RejectReason, blame
from relaypost_server.core.message import Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of a number of messages that one provider took: the most telling event of each."""

    channel: Channel
    provider: str
    country: str
    """ISO 3166-1 alpha-2 code of the phone's country; "" for email and for numbers of no country."""
    kind: EventType | None
    """None: no receipt tells whether they arrived."""
    reason: RejectReason | None
    permanent: bool
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRate:
    """What became of the messages to one country that one provider took."""

    channel: Channel
    provider: str
    country: str
    delivered: int
    undelivered: int
    not_its_fault: int
    """Those of `undelivered` that say nothing about the provider."""
    unknown: int
    window: float
    """Seconds that the counts look back over."""

    @property
    def lost(self) -> int:
        """Messages that speak against the provider.

        Where nothing at all was delivered, its silence may be that of a country whose carriers report nothing.
        """
        return self.undelivered - self.not_its_fault + (self.unknown if self.delivered else 0)


def rates(fates: Iterable[Fate], *, window: float) -> tuple[DeliveryRate, ...]:
    """The rates that the fates add up to, by channel, provider and country."""
    counts: dict[tuple[Channel, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for fate in fates:
        found = counts[fate.channel, fate.provider, fate.country]
        if fate.kind is None:
            found[3] += fate.messages
        elif fate.kind not in UNDELIVERED:
            found[0] += fate.messages
        else:
            found[1] += fate.messages
            if blame(fate.kind, fate.reason, permanent=fate.permanent) is not Blame.ROUTE:
                found[2] += fate.messages
    return tuple(
        DeliveryRate(
            channel=channel,
            provider=provider,
            country=country,
            delivered=delivered,
            undelivered=undelivered,
            not_its_fault=not_its_fault,
            unknown=unknown,
            window=window,
        )
        for (channel, provider, country), (delivered, undelivered, not_its_fault, unknown) in sorted(counts.items())
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SicknessPolicy:
    """When a provider that takes messages is sick all the same, for they do not arrive."""

    below: float
    """The part that arrives, 0 to 1; 0: never."""
    least: int
    """Messages; fewer say nothing."""

    def is_sick(self, found: Sequence[DeliveryRate]) -> bool:
        """Whether too little arrives, over all countries of one provider.

        Only what speaks for or against the provider counts: bad addresses never bench a healthy one.
        """
        delivered, lost = sum(r.delivered for r in found), sum(r.lost for r in found)
        return delivered + lost >= self.least and delivered < self.below * (delivered + lost)
