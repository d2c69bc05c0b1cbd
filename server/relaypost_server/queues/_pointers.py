"""Reads what engines carry."""

import contextlib

import structlog

from relaypost_server.core.queue import Lane, Pointer

log = structlog.get_logger("relaypost.queue")


def read(payload: bytes, lane: Lane) -> Pointer | None:
    """The pointer that was carried; None, with a word in the log, where it is none of ours and is to be thrown away."""
    with contextlib.suppress(ValueError):  # Whose text may hold what was carried.
        return Pointer.read(payload.decode(), lane)
    log.error("unreadable pointer thrown away", lane=lane.value, size=len(payload))
    return None
