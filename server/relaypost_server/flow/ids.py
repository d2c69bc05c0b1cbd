"""New ids of messages, batches and codes."""

import os
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from relaypost_server.core.ids import uuid7

RANDOM_BYTES: Final = 10
"""In each id."""
AT_ONCE: Final = 400
"""Ids whose random parts one system call brings: to busy machines it is an invitation to run something else."""


def new_id(moment: datetime) -> str:
    """An id that sorts by the moment, and that nobody can guess. For the event loop's thread."""
    return uuid7(int(moment.timestamp() * 1000), next(_random_parts))


def _draw() -> Iterator[int]:
    while True:
        drawn = os.urandom(RANDOM_BYTES * AT_ONCE)
        for at in range(0, len(drawn), RANDOM_BYTES):
            yield int.from_bytes(drawn[at : at + RANDOM_BYTES])


_random_parts = _draw()
