"""What one walk of a chain must do, in the words of its specification.

The model is for chains in which no provider's own time-out is below the shortest attempt.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from relaypost_server.core.breaker import RefusalReason
from relaypost_server.core.failover import Ending, SkipReason
from relaypost_server.core.message import Guarantee
from relaypost_server.core.outcome import Kind

MAY_RETRY = {Kind.SKIPPED, Kind.UNREACHABLE, Kind.FAULTED, Kind.THROTTLED, Kind.DEFERRED}
"""The kinds after which the same message may be sent later; the table's last column."""
MAY_HAVE_SENT = {Kind.ACCEPTED, Kind.UNCONFIRMED}
WAIT = 1.0
"""Seconds that a caller is told to wait where no provider named a time."""
SKIPS = {
    RefusalReason.OPEN: SkipReason.CIRCUIT_OPEN,
    RefusalReason.BUDGET: SkipReason.OVER_BUDGET,
    RefusalReason.PROBING: SkipReason.PROBING,
    RefusalReason.COOLING: SkipReason.COOLING,
}


@dataclass(frozen=True, slots=True)
class Event:
    """One provider asked or passed over."""

    provider: str
    kind: Kind
    wait: float | None = None
    """Seconds that the provider, or its circuit, asked for."""
    no_time: bool = False
    refused_for_now: frozenset[str] = frozenset()
    blames_recipient: bool = False
    """It refused because there is no such recipient, by its own word."""
    alert: bool = False
    """It refused because of the gateway's own set-up."""


@dataclass(frozen=True, slots=True)
class Ask:
    """This provider must be asked, for this long."""

    provider: str
    timeout: float
    again: bool = False


@dataclass(frozen=True, slots=True)
class PassOver:
    """This provider must be passed over."""

    provider: str
    reason: SkipReason


@dataclass(frozen=True, slots=True)
class End:
    """The walk must end like this."""

    ending: Ending
    possible_duplicate: bool
    retry_after: float | None


@dataclass(slots=True)
class WalkModel:
    """One message on its way along the chain; times in seconds."""

    chain: Mapping[str, float]
    """Each provider's longest attempt, in order."""
    guarantee: Guarantee
    recipients: frozenset[str]
    shortest: float
    events: list[Event] = field(default_factory=list)

    def next(
        self, circuits: Mapping[str, RefusalReason], *, time_left: float, may_try_again: bool, abandoned: bool
    ) -> Ask | PassOver | End:
        """The only right step. `circuits`: the providers that let nothing through, and why."""
        seen = {event.provider for event in self.events}
        untried = [name for name in self.chain if name not in seen]
        if self._settled():
            return self.end()
        if abandoned and self.events:
            return self.end(cut_short=bool(untried))
        if not untried:
            return self._second_try(circuits, time_left) if may_try_again else self.end()
        name = untried[0]
        if name in circuits:
            return PassOver(name, SKIPS[circuits[name]])
        if time_left < self.shortest:
            return PassOver(name, SkipReason.NO_TIME)
        eligible = [other for other in untried if other not in circuits]
        return Ask(name, min(self.chain[name], max(self.shortest, time_left / len(eligible))))

    def still_to_reach(self) -> frozenset[str]:
        """Everyone, but for those whom some provider took, or refused for good while it took others."""
        left = self.recipients
        for event in self.events:
            if event.kind is Kind.ACCEPTED:
                left &= event.refused_for_now
        return left

    def end(self, *, cut_short: bool = False) -> End:
        """What the walk amounts to if it ends here; `cut_short`: with providers left that might have taken it."""
        kinds = [event.kind for event in self.events]
        ending = self._ending(kinds, cut_short)
        retry_after = None
        if ending is Ending.DEADLINE:
            retry_after = WAIT
        elif ending is Ending.EXHAUSTED:
            waits = [WAIT if e.wait is None else e.wait for e in self.events if e.kind in MAY_RETRY]
            retry_after = min(waits, default=None)
        return End(ending, self._possible_duplicate(kinds), retry_after)

    def _ending(self, kinds: list[Kind], cut_short: bool) -> Ending:
        for kind, ending in (
            (Kind.ACCEPTED, Ending.SENT),
            (Kind.UNCONFIRMED, Ending.UNCONFIRMED),
            (Kind.REJECTED, Ending.REJECTED),
        ):
            if kind in kinds:
                return ending
        ours = Kind.UNAUTHORIZED in kinds or any(event.alert for event in self.events)
        everyone_refused = not cut_short and not ours and not MAY_RETRY.intersection(kinds)
        if everyone_refused and any(event.blames_recipient for event in self.events):
            return Ending.REJECTED
        return Ending.DEADLINE if any(event.no_time for event in self.events) else Ending.EXHAUSTED

    @staticmethod
    def _possible_duplicate(kinds: list[Kind]) -> bool:
        """One provider may have sent it, and a later one has or may have as well."""
        return any(
            kind is Kind.UNCONFIRMED and MAY_HAVE_SENT.intersection(kinds[n + 1 :]) for n, kind in enumerate(kinds)
        )

    def _settled(self) -> bool:
        """Whether the latest answer leaves nothing for another provider to do."""
        if not self.events:
            return False
        last = self.events[-1]
        if last.kind is Kind.ACCEPTED:
            return not last.refused_for_now
        if last.kind is Kind.UNCONFIRMED:
            return self.guarantee is Guarantee.AT_MOST_ONCE
        return last.kind is Kind.REJECTED

    def _second_try(self, circuits: Mapping[str, RefusalReason], time_left: float) -> Ask | End:
        """One more try, at the first provider that certainly took nothing."""
        certain = {event.provider for event in self.events if event.kind is Kind.UNREACHABLE}
        free = [name for name in self.chain if name in certain and name not in circuits]
        if not free or time_left < self.shortest or len(self.events) > len(self.chain):
            return self.end()
        return Ask(free[0], min(self.chain[free[0]], time_left), again=True)
