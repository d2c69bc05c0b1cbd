"""How many callbacks are read and recorded at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomLimits:
    """For one kind of callbacks: all together, and those of one peer."""

    callbacks: int = 64
    bytes: int = 64 * MIB
    callbacks_per_peer: int = 16
    bytes_per_peer: int = 32 * MIB


class NoRoomError(Exception):
    """There is no room for another callback now."""


@dataclass(slots=True)
class _Taken:
    callbacks: int = 0
    bytes: int = 0


@dataclass(slots=True)
class _Kind:
    all: _Taken = field(default_factory=_Taken)
    by_peer: dict[str, _Taken] = field(default_factory=dict)


class Rooms:
    """Each kind of callbacks has room of its own, which no flood of another kind can take."""

    def __init__(self, limits: RoomLimits | None = None) -> None:
        self._limits = limits or RoomLimits()
        self._kinds: dict[str, _Kind] = {}

    @contextmanager
    def entered(self, kind: str, peer: str, size: int) -> Iterator[None]:
        """Holds room for a callback of so many bytes. Raises NoRoomError."""
        room = self._kinds.setdefault(kind, _Kind())
        own, limits = room.by_peer.get(peer, _Taken()), self._limits
        if (
            room.all.callbacks >= limits.callbacks
            or room.all.bytes + size > limits.bytes
            or own.callbacks >= limits.callbacks_per_peer
            or own.bytes + size > limits.bytes_per_peer
        ):
            raise NoRoomError
        room.by_peer[peer] = own
        for taken in (room.all, own):
            taken.callbacks += 1
            taken.bytes += size
        try:
            yield
        finally:
            for taken in (room.all, own):
                taken.callbacks -= 1
                taken.bytes -= size
            if not own.callbacks:
                room.by_peer.pop(peer, None)
