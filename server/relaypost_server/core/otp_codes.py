"""How a code is kept: as what only the holder of the pepper can compare, or open.

The mark is an HMAC-SHA256 over everything that the code belongs to. The seal is
the code plus a number that only the pepper's holder can work out, modulo all
codes of that length: alone it is as likely for one code as for any other. It is
kept so that a second message can carry the same code.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a code belongs to: it is right for nothing else."""

    otp_id: str
    purpose: str
    destination: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCode:
    """A code as the database keeps it."""

    pepper: str
    """The id of the pepper that it was made with."""
    mark: bytes = field(repr=False)
    seal: int = field(repr=False)
    length: int
    generation: int
    """Grows with each new code of the same id."""


_NOBODY = Bound(otp_id="", purpose="", destination="")
_NOTHING = bytes(32)


class Peppers:
    """The secret that is in no database, and those that it has replaced."""

    def __init__(self, current: str, previous: Sequence[str] = ()) -> None:
        """The previous ones still open and compare, and make nothing new."""
        self._current = current.encode()
        self._known = {_id(p.encode()): p.encode() for p in (*previous, current)}

    def store(self, code: str, bound: Bound, *, generation: int = 1) -> StoredCode:
        """What is kept of a new code."""
        return StoredCode(
            pepper=_id(self._current),
            mark=_mark(self._current, bound, code),
            seal=(int(code) + _pad(self._current, bound, generation)) % 10 ** len(code),
            length=len(code),
            generation=generation,
        )

    def open(self, stored: StoredCode, bound: Bound) -> str | None:
        """The code; None where its pepper is gone."""
        pepper = self._known.get(stored.pepper)
        if pepper is None:
            return None
        number = (stored.seal - _pad(pepper, bound, stored.generation)) % 10**stored.length
        return f"{number:0{stored.length}}"

    def matches(self, typed: str, stored: StoredCode | None, bound: Bound = _NOBODY) -> bool:
        """Whether it is the code; takes as long where there is none."""
        pepper = self._known.get(stored.pepper) if stored else None
        mark = _mark(pepper or self._current, bound, typed)
        return hmac.compare_digest(mark, stored.mark if stored and pepper else _NOTHING)


def _mark(pepper: bytes, bound: Bound, code: str) -> bytes:
    return _hmac(pepper, bound.otp_id, bound.purpose, bound.destination, code)


def _pad(pepper: bytes, bound: Bound, generation: int) -> int:
    return int.from_bytes(_hmac(pepper, "seal", bound.otp_id, str(generation)))


def _id(pepper: bytes) -> str:
    """Tells peppers apart, and nothing about them."""
    return _hmac(pepper, "id")[:8].hex()


def _hmac(pepper: bytes, *parts: str) -> bytes:
    """Of parts that can be told apart: only an address may hold the separator, and what is around it has a form."""
    return hmac.digest(pepper, "|".join(parts).encode(), sha256)
