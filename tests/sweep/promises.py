"""Which state of a message may follow which, from the gateway's own table."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from relaypost_server.core.messages.transitions import INITIAL, LEGAL

_ENDS = ("delivered", "bounced", "complained", "rejected", "failed", "dead", "cancelled")


def _table(pairs: Iterable[tuple[str, str]]) -> Mapping[str, frozenset[str]]:
    found = defaultdict[str, set[str]](set)
    for before, after in pairs:
        found[before].add(after)
    return {before: frozenset(after) for before, after in found.items()}


TRANSITIONS = _table([("", state.value) for state in INITIAL] + [(a.value, b.value) for a, b in LEGAL])
"""Empty stands for a message that is new."""
NEVER_QUEUED = frozenset({"failed"})
"""States that a message of the queue never has: what is not sent goes back, or is dead."""
AFTER_AN_END = {end: TRANSITIONS.get(end, frozenset()) for end in _ENDS}
"""States that end a stream, and what may come after: a repeated request, a requeued dead letter, a late receipt."""
