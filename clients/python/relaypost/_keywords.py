"""Checks the keyword arguments that methods take as `**fields`.

A TypedDict is a promise to the type checker alone: at run time Python accepts
any keyword, and a misspelt `bcc` would send the message to fewer people.
"""

import difflib
from collections.abc import Mapping


def check_keywords(given: Mapping[str, object], known: type) -> None:
    """Raises TypeError for a keyword that the TypedDict `known` does not declare, or for a required one that lacks."""
    required: frozenset[str] = known.__required_keys__  # type: ignore[attr-defined]
    optional: frozenset[str] = known.__optional_keys__  # type: ignore[attr-defined]
    for name in given:
        if name not in required | optional:
            raise TypeError(f"unexpected keyword argument {name!r}{_hint(name, required | optional)}")
    missing = sorted(required - given.keys())
    if missing:
        raise TypeError(f"missing required keyword argument {missing[0]!r}")


def _hint(name: str, known: frozenset[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
