"""Which state of a message may follow which. The gateway's own table replaces this one once it has one."""

from collections.abc import Mapping

_RECEIPTS = frozenset({"sent", "deferred", "delivered", "bounced", "complained", "failed"})
_RESULTS = frozenset({"sent", "unconfirmed", "rejected", "failed"})

TRANSITIONS: Mapping[str, frozenset[str]] = {
    "": _RESULTS | {"sending", "queued"},
    "queued": frozenset({"sending", "cancelled", "dead"}) | _RECEIPTS - {"failed"},
    "sending": _RESULTS | _RECEIPTS | {"queued", "dead"},
    "sent": _RECEIPTS,
    "unconfirmed": frozenset({"sending", "queued", "dead", "rejected"}) | _RECEIPTS,
    "failed": frozenset({"sending"}) | _RECEIPTS,
    "rejected": _RECEIPTS - {"failed"},
    "dead": frozenset({"queued", "cancelled"}) | _RECEIPTS - {"failed"},
    "cancelled": _RECEIPTS - {"failed"},
    "deferred": _RECEIPTS,
    "delivered": frozenset({"bounced", "complained"}),
    "bounced": _RECEIPTS,
    "complained": frozenset(),
}
"""Empty stands for a message that is new."""
NEVER_QUEUED = frozenset({"failed"})
"""States that a message of the queue never has: what is not sent goes back, or is dead."""
AFTER_AN_END: Mapping[str, frozenset[str]] = {
    "delivered": frozenset({"bounced", "complained"}),
    "bounced": frozenset({"delivered", "complained"}),
    "complained": frozenset(),
    "rejected": frozenset(),
    "failed": frozenset({"sending"}),
    "dead": frozenset({"queued", "cancelled"}),
    "cancelled": frozenset(),
}
"""States that end a stream, and what may come after: a repeated request, a requeued dead letter, a late receipt."""
