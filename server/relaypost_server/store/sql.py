"""Loads the named statements of the `.sql` files beside it.

A statement that writes `messages.state` asks `legal_CAUSE(from, to)`, where
CAUSE is one of `core.messages.transitions`: here it becomes a comparison with
the pairs of that table.
"""

import re
from importlib.resources import files

from relaypost_server.core.messages.transitions import BY_CAUSE, Cause

_NAMED = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.DOTALL | re.MULTILINE)
_LEGAL = re.compile(r"\blegal_(\w+)\(([^(),]+), ([^(),]+)\)")


def load_queries() -> dict[str, str]:
    """Each statement by its name, the comments that explain it left out."""
    found = (f for f in files("relaypost_server.store").iterdir() if f.name.endswith(".sql"))
    texts = [file.read_text() for file in sorted(found, key=lambda f: f.name)]
    return {name: _statement(body) for text in texts for name, body in _NAMED.findall(text)}


def _statement(body: str) -> str:
    return _LEGAL.sub(_condition, re.sub(r"^--.*\n", "", body, flags=re.MULTILINE).strip())


def _condition(asked: re.Match[str]) -> str:
    cause, source, target = asked.groups()
    pairs = ",".join(f"{a}>{b}" for a, b in sorted(BY_CAUSE[Cause(cause)]))
    return f"({source} || '>' || {target}) = ANY ('{{{pairs}}}')"  # One test, where a list of rows would be one each.


QUERIES = load_queries()
