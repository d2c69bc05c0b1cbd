"""What gateways tell one another about their providers, and how much of it is believed.

Whoever reaches the channel may write to it, so a message is read with
suspicion: whatever is not exactly as expected is ignored.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any, Final

from relaypost_server.core.breaker import LONGEST_COOL_DOWN, CircuitSnapshot, CircuitState, OpenReason
from relaypost_server.core.message import Channel

VERSION: Final = 1
"""Of the messages. Those of other versions are ignored."""
LARGEST_MESSAGE: Final = 512
"""Bytes; ours have some 150."""
LARGEST_LEAD: Final = 5.0
"""Seconds by which a sender's clock may be ahead."""
OLDEST: Final = 30.0
"""Seconds after which news is none; they must cover a sender's clock that is behind."""


class AdviceKind(StrEnum):
    OPENED = "opened"
    """A circuit has opened. The fault may be the teller's own network, so others become wary and no more."""
    COOLING = "cooling"
    """A throttle, or a quota that is used up. It concerns the account, so it holds for whoever uses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One thing that a gateway found out about a provider, and for how many seconds it holds."""

    kind: AdviceKind
    channel: Channel
    provider: str
    seconds: float


class Ignored(StrEnum):
    """Why a message says nothing."""

    MALFORMED = "malformed"
    FOREIGN = "foreign"
    """Another version, or a kind or channel that this one does not know."""
    FUTURE = "future"
    STALE = "stale"
    UNKNOWN = "unknown"
    """About a provider that is not configured here."""
    OWN = "own"


class BusUnavailableError(Exception):
    """Other gateways cannot be told, or heard, now. Its text is safe to log."""


class OwnEvidence:
    """Whether an open circuit rests on what this gateway has seen itself.

    What opened on another's advice, after one failure, is not told: among many
    gateways each advice would find one that fails once, and so go on for ever.
    """

    def __init__(self) -> None:
        self._borrowed = False

    def suffices(self, circuit: CircuitSnapshot) -> bool:
        """To be asked after each change of the circuit. What receipts tell is in the database, for all to see."""
        reason = circuit.reason
        self._borrowed = reason is OpenReason.ADVISED or (self._borrowed and reason is OpenReason.PROBE_FAILED)
        return circuit.state is CircuitState.OPEN and not self._borrowed and reason is not OpenReason.UNDELIVERED


def write(advice: Advice, *, replica: str, at: float) -> bytes:
    """The message. `replica` names the sender; `at`: seconds since 1970."""
    fields = {
        "v": VERSION,
        "from": replica,
        "at": round(at, 3),
        "what": advice.kind.value,
        "channel": advice.channel.value,
        "provider": advice.provider,
        "seconds": round(advice.seconds, 3),
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def read(message: bytes, *, replica: str, now: float) -> Advice | Ignored:
    """What is left of the advice at `now`, in seconds since 1970, for the gateway `replica`."""
    fields = _fields(message)
    if fields is None:
        return Ignored.MALFORMED
    if fields.get("v") != VERSION:
        return Ignored.FOREIGN
    sender, what, where, provider = texts = [
        _text(fields.get(name)) for name in ("from", "what", "channel", "provider")
    ]
    at, seconds = _number(fields.get("at")), _number(fields.get("seconds"))
    if not all(texts) or at is None or seconds is None:
        return Ignored.MALFORMED
    if sender == replica:
        return Ignored.OWN
    try:
        kind, channel = AdviceKind(what), Channel(where)
    except ValueError:
        return Ignored.FOREIGN
    age = now - at
    left = min(seconds, LONGEST_COOL_DOWN) - max(age, 0.0)
    if age < -LARGEST_LEAD:
        return Ignored.FUTURE
    if age > OLDEST or left <= 0:
        return Ignored.STALE
    return Advice(kind=kind, channel=channel, provider=provider, seconds=left)


def _fields(message: bytes) -> dict[str, Any] | None:
    if len(message) > LARGEST_MESSAGE:
        return None
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    """A number that can be reckoned with; JSON allows integers that no float holds, and Python's JSON also NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if isfinite(value) else None
    except OverflowError:
        return None
