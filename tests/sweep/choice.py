"""Which steps of a scenario are worth a fault, and which modes at each: what is the same as another is left out."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tests.sweep.steps import Mode

MOST_ALIKE = 6
"""Steps of one label."""
MOST_FOUND = 2
"""Steps of one label of a loop that found something."""
MOST_OF_A_SCHEMA = 2
"""Statements of one kind while a schema is made."""
_READS = re.compile(r"db (get_|list_|find_|news_|message_versions|suppression_changes|SELECT (?!pg_))")
_BEFORE = frozenset({Mode.LOST_BEFORE, Mode.KILL_BEFORE})
_NAMED = re.compile(r"db [a-z_]+$|(?!db )")
_WORD = re.compile(r"[A-Z]+\b")


def chosen(
    name: str, steps: Iterable[tuple[str, int]], *, loops: Iterable[str], fruitful: Iterable[tuple[str, int]]
) -> list[tuple[str, int]]:
    """The steps at which something goes wrong: what loops do in vain, over and over, counts once, in `background`."""
    in_loops, found = set(loops), {(label, number) for label, number in fruitful}
    counts: Counter[str] = Counter()
    picked = []
    for label, number in steps:
        wanted = label not in in_loops or name == "background" or (label, number) in found
        kind = _kind(label) if name == "migration" else label
        if wanted and counts[kind] < _most(name, label, looping=label in in_loops):
            counts[kind] += 1
            picked.append((label, number))
    return picked


def modes_at(label: str) -> Sequence[Mode]:
    """A statement that only reads leaves the same behind whether or not the database got it."""
    return [mode for mode in Mode if not (mode in _BEFORE and _READS.match(label))]


def _most(name: str, label: str, *, looping: bool) -> int:
    if name == "migration":
        return MOST_OF_A_SCHEMA
    if _READS.match(label) or (looping and name == "background"):
        return 1
    return MOST_FOUND if looping else MOST_ALIKE


def _kind(label: str) -> str:
    """Of a statement that makes a schema: its first word; all files of migrations are alike."""
    if _NAMED.match(label):
        return label
    word = _WORD.match(label.removeprefix("db "))
    return f"db {word[0] if word else 'script'}"
