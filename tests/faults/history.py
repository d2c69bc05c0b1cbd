"""What callers were told, what providers got, what the log says: and whether the three agree.

A token stands for one message that a caller wants sent. It travels in the
subject or the text, and as metadata in the log, so that it ties together what
belongs together even where no answer came back.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Result(StrEnum):
    """What a caller was told."""

    SENT = "sent"
    UNCONFIRMED = "unconfirmed"
    FAILED = "failed"
    """An error of the gateway: nothing was sent."""
    UNKNOWN = "unknown"
    """No answer came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One message that a caller wanted sent, and the last that they heard of it."""

    token: str
    result: Result
    at_most_once: bool = False
    keyed: bool = False
    """With a request_id, under which every new try is the same message."""
    message_id: str = ""
    possible_duplicate: bool = False
    excused: bool = False
    """The log may lack it: the gateway was killed while the answer was not yet promised to be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One message that one provider got whole."""

    provider: str
    token: str
    message_id: str = ""
    """As it travelled; empty for text messages."""
    taken: bool = True
    """False where the provider answered that it refuses or failed; without an answer it may deliver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One message of the log; attempts are pairs of a provider and the kind of its outcome."""

    message_id: str
    token: str
    state: str
    possible_duplicate: bool = False
    attempts: tuple[tuple[str, str], ...] = ()

    def asked(self, provider: str, *kinds: str) -> int:
        """How many attempts at the provider there were, of these kinds or of any that reached it."""
        return sum(
            name == provider and (kind in kinds if kinds else kind not in ("skipped", "unreachable"))
            for name, kind in self.attempts
        )


@dataclass(frozen=True, slots=True)
class Offence:
    """A promise that was not kept."""

    kind: str
    """"lost", "duplicated", "unlogged" or "phantom"."""
    token: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.token}: {self.what}"


@dataclass
class History:
    """Everything that happened."""

    calls: list[Call] = field(default_factory=list)
    submissions: list[Submission] = field(default_factory=list)
    logged: list[Logged] = field(default_factory=list)


def check(history: History) -> list[Offence]:
    """Every promise that the history breaks."""
    calls = {call.token: call for call in history.calls}
    submitted: dict[str, list[Submission]] = defaultdict(list)
    for submission in history.submissions:
        submitted[submission.token].append(submission)
    logged: dict[str, list[Logged]] = defaultdict(list)
    for entry in history.logged:
        logged[entry.token].append(entry)
    offences = [
        offence
        for token, call in calls.items()
        for offence in (
            *_of_delivery(call, [s for s in submitted[token] if s.taken], logged[token]),
            *_of_log(call, submitted[token], logged[token]),
        )
    ]
    return offences + _unasked(calls, submitted, logged)


def _of_delivery(call: Call, taken: Sequence[Submission], logged: Sequence[Logged]) -> Iterable[Offence]:
    """Whether what was promised reached a provider, and no more often than promised."""
    if call.result is Result.SENT and not taken:
        yield Offence("lost", call.token, "the caller was told that it was sent, and no provider has it")
    if call.result is Result.FAILED and taken:
        yield Offence("phantom", call.token, "the caller was told that nothing was sent, and a provider has it")
    for entry in logged:
        for provider, kind in entry.attempts:
            if kind == "accepted" and not any(s.provider == provider for s in taken):
                yield Offence("lost", call.token, f"the log says that {provider} accepted it, who does not have it")
    providers = [s.provider for s in taken]
    if len(set(providers)) < len(providers):
        yield Offence("duplicated", call.token, f"one provider has it twice: {providers}")
    elif len(providers) > 1 and call.at_most_once:
        yield Offence("duplicated", call.token, f"at most once was asked for: {providers}")
    elif len(providers) > 1 and not _is_documented(call, logged):
        yield Offence("duplicated", call.token, f"no lost answer explains the second copy: {providers}")


def _is_documented(call: Call, logged: Sequence[Logged]) -> bool:
    """Whether the caller or the log was told that there may be two copies.

    A caller who never got an answer, and whose gateway died before it could
    write the record, can be told nothing: only keyed messages outlive that.
    """
    if call.result is Result.UNKNOWN and not logged:
        return not call.keyed
    told = call.possible_duplicate or call.result is Result.UNCONFIRMED
    return told or any(e.possible_duplicate or "unconfirmed" in [k for _, k in e.attempts] for e in logged)


def _of_log(call: Call, submitted: Sequence[Submission], logged: Sequence[Logged]) -> Iterable[Offence]:
    """Whether the log tells what callers and providers know."""
    if not logged:
        answered = bool(call.message_id) or (call.keyed and bool(submitted))
        lost_with_its_gateway = call.excused or (call.result is Result.UNKNOWN and not call.keyed)
        if answered and not lost_with_its_gateway:
            yield Offence("unlogged", call.token, f"the log has no message {call.message_id}")
        return
    if len(logged) > 1:
        yield Offence("phantom", call.token, f"{len(logged)} messages in the log for one call")
    entry = logged[0]
    if call.message_id and entry.message_id != call.message_id:
        yield Offence("unlogged", call.token, f"the caller's message {call.message_id} is not {entry.message_id}")
    if call.result is not Result.UNKNOWN and call.message_id and entry.state not in _STATES[call.result]:
        how = f"keyed {call.keyed}, at most once {call.at_most_once}, {entry.attempts}"
        what = f"{call.result} to the caller, {entry.state} in the log: {how}, got {[s.provider for s in submitted]}"
        yield Offence("unlogged", call.token, what)
    for provider in sorted({s.provider for s in submitted}):
        got, told = sum(s.provider == provider for s in submitted), entry.asked(provider)
        if got > told:
            yield Offence("unlogged", call.token, f"{provider} got it {got} times, the log tells of {told}")
    if any(s.message_id and s.message_id != entry.message_id for s in submitted):
        yield Offence("phantom", call.token, "a provider has it under another id than the log")


_STATES: Mapping[Result, frozenset[str]] = {
    Result.SENT: frozenset({"sent"}),
    Result.UNCONFIRMED: frozenset({"unconfirmed", "sent"}),
    Result.FAILED: frozenset({"failed", "rejected"}),
}


def _unasked(
    calls: Mapping[str, Call], submitted: Mapping[str, Sequence[Submission]], logged: Mapping[str, Sequence[Logged]]
) -> list[Offence]:
    """What nobody asked for."""
    return [
        *(
            Offence("phantom", t, f"{s.provider} got what nobody sent")
            for t in submitted
            if t not in calls
            for s in submitted[t]
        ),
        *(
            Offence("phantom", t, f"the log tells of {e.message_id}, which nobody sent")
            for t in logged
            if t not in calls
            for e in logged[t]
        ),
    ]
