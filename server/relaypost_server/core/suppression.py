"""Addresses that get no more messages: why, for whose messages, and until when."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

EVERY_CALLER = "*"
"""Stands for all callers; no caller can have this name."""
LONGEST_NOTE = 200
"""Characters."""


class SuppressionReason(StrEnum):
    """Why an address gets no more messages."""

    BOUNCED = "bounced"
    """It takes no messages, and never will."""
    COMPLAINED = "complained"
    """Its owner called a message spam."""
    UNSUBSCRIBED = "unsubscribed"
    """Its owner asked for no more messages."""
    MANUAL = "manual"
    """Somebody put it on the list."""


class SuppressionSource(StrEnum):
    """Who says so."""

    EVENT = "event"
    """A receipt about a message."""
    PROVIDER = "provider"
    """A provider's answer to a send, or its own list."""
    MANUAL = "manual"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """An address on the list."""

    address: str
    """As addresses are compared: see `comparable`."""
    caller: str
    """Whose messages it is about; EVERY_CALLER: everybody's."""
    reason: SuppressionReason
    source: SuppressionSource = SuppressionSource.MANUAL
    provider: str = ""
    """That told, where it was one."""
    message_id: str = ""
    """Of the message that brought it about, where it was one."""
    note: str = ""
    create_time: datetime
    expire_time: datetime | None = None
    """From then on the address gets messages again; None: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuppressionQuery:
    """Which suppressions to list; empty filters let everything through."""

    callers: tuple[str, ...]
    page_size: int = 50
    after: tuple[str, str] | None = None
    """Only those behind this address and caller."""
    address: str = ""
    reason: SuppressionReason | None = None
    source: SuppressionSource | None = None
    provider: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuppressionPolicy:
    """What becomes of an address that a provider tells of."""

    bounce_seconds: float | None = None
    """For how long a hard bounce counts; None: for ever."""

    def dated(self, found: Suppression) -> Suppression:
        """The suppression with the end that the policy sets."""
        if self.bounce_seconds is None or found.reason is not SuppressionReason.BOUNCED:
            return found
        return replace(found, expire_time=found.create_time + timedelta(seconds=self.bounce_seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a person wrote back to a provider's number."""

    provider: str
    id: str
    """The provider's own id of the reply: it counts once, however often it is reported."""
    address: str
    """Of the person."""
    wants_messages: bool | None
    """False for STOP, True for START; None: it is about something else."""


_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def comparable(address: str) -> str:
    """What two spellings of a normalised address have in common.

    Servers may tell "Ada" from "ada" before the @ (RFC 5321, 2.4); hardly any
    does, and a person who asked for silence means every spelling. Only ASCII is
    folded: PostgreSQL, which compares as well, folds more only by some locales.
    """
    return address.translate(_ASCII_LOWER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of one address for one caller."""

    address: str
    caller: str
    reason: SuppressionReason | None
    """None: it is off the list."""
    expire_time: datetime | None = None


_Entry = tuple[str, SuppressionReason, datetime | None]
"""Caller, reason, end."""


class SuppressionList:
    """A copy of the list in memory, made to say no quickly.

    Nearly every address is on no list: for those the answer is one look-up.
    Most entries that differ in nothing but the address are one object.
    """

    def __init__(self) -> None:
        self._entries: dict[str, tuple[_Entry, ...]] = {}
        self._shared: dict[tuple[_Entry, ...], tuple[_Entry, ...]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def apply(self, changes: Iterable[Change]) -> None:
        """Puts addresses on and takes them off; the same change twice is no change."""
        for change in changes:
            known = self._entries.get(change.address, ())
            entries = tuple(e for e in known if e[0] != change.caller)
            if change.reason is not None:
                entries = (*entries, (change.caller, change.reason, change.expire_time))
            self._size += len(entries) - len(known)
            if entries:
                self._entries[change.address] = self._one_object(entries)
            else:
                self._entries.pop(change.address, None)

    def knows(self, recipients: Iterable[str]) -> bool:
        """Whether any of them is on the list for anybody: nearly always not."""
        entries = self._entries
        if entries:
            for recipient in recipients:
                if comparable(recipient) in entries:
                    return True
        return False

    def among(self, caller: str, recipients: Iterable[str], now: datetime) -> Mapping[str, SuppressionReason]:
        """Those of the recipients that get no messages of the caller, and why."""
        found = {}
        for recipient in recipients:
            entries = self._entries.get(comparable(recipient))
            if entries is not None:
                reason = _reason(entries, caller, now)
                if reason is not None:
                    found[recipient] = reason
        return found

    def _one_object(self, entries: tuple[_Entry, ...]) -> tuple[_Entry, ...]:
        if any(end is not None for _, _, end in entries):
            return entries
        return self._shared.setdefault(entries, entries)


def _reason(entries: tuple[_Entry, ...], caller: str, now: datetime) -> SuppressionReason | None:
    for owner, reason, end in entries:
        if owner in (caller, EVERY_CALLER) and (end is None or end > now):
            return reason
    return None
