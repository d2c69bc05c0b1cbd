"""The named statements of the `.sql` files beside it.

A statement that writes `messages.state` asks `legal_CAUSE(from, to)`, where
CAUSE is one of `core.messages.transitions`: here it becomes a comparison with
the pairs of that table.
"""

import re

from relaypost_server.core.messages.transitions import BY_CAUSE, Cause
from relaypost_server.statements import load_statements

_LEGAL = re.compile(r"\blegal_(\w+)\(([^(),]+), ([^(),]+)\)")


def load_queries() -> dict[str, str]:
    """Each statement by its name, the legal state changes filled in."""
    found = load_statements("relaypost_server.store")
    return {name: _LEGAL.sub(_condition, statement) for name, statement in found.items()}


def _condition(asked: re.Match[str]) -> str:
    cause, source, target = asked.groups()
    pairs = ",".join(f"{a}>{b}" for a, b in sorted(BY_CAUSE[Cause(cause)]))
    return f"({source} || '>' || {target}) = ANY ('{{{pairs}}}')"  # One test, where a list of rows would be one each.


QUERIES = load_queries()
