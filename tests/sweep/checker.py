"""Whether what happened keeps every promise. Pure: it sees nothing but the facts."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.sweep.promises import AFTER_AN_END, NEVER_QUEUED, TRANSITIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The last that a caller heard of one message."""

    token: str
    answer: str
    """A state of the message in lower case, "error" where nothing was sent, or "" where no answer came."""
    code: str = ""
    """Of an error: the name of its gRPC status."""
    reason: str = ""
    message_id: str = ""
    keyed: bool = False
    """Repeated under its request_id until an answer came."""
    at_most_once: bool = False
    possible_duplicate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A message that a provider got whole."""

    provider: str
    token: str
    message_id: str = ""
    taken: bool = True
    """False where the provider refused it, or the connection ended before it did anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A message of the log, at the end."""

    message_id: str
    token: str
    state: str
    possible_duplicate: bool = False
    attempts: tuple[tuple[str, str], ...] = ()
    """Provider and kind of outcome of each."""


@dataclass(frozen=True, slots=True)
class Change:
    """A state of a message that was committed; `before` is empty for a new message."""

    message_id: str
    before: str
    after: str


@dataclass(kw_only=True)
class Facts:
    """All that is known of one run."""

    told: list[Told] = field(default_factory=list)
    submissions: list[Submission] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    watched: dict[str, list[str]] = field(default_factory=dict)
    """States that a stream showed, by message."""
    over: set[str] = field(default_factory=set)
    """Messages whose stream the gateway ended by itself."""
    events: dict[str, list[str]] = field(default_factory=dict)
    """States that webhook events tell of, by message, in the order of their making."""
    posted: dict[str, list[str]] = field(default_factory=dict)
    """States that the webhook's receiver got, by message."""
    hooked: bool = False
    """The caller has a webhook."""
    killed: bool = False
    """The gateway had no chance to put anything on record."""
    missing_tasks: Sequence[str] = ()
    """Background work of the first gateway that stopped."""
    left_over: Mapping[str, int] = field(default_factory=dict)
    """What waits although nothing should."""
    incidents: Sequence[str] = ()
    """Exceptions that nobody expected."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept."""

    promise: str
    what: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.what}"


def check(facts: Facts) -> list[Violation]:
    """Every promise that the facts break."""
    return [
        *_nothing_lost(facts),
        *_nothing_twice(facts),
        *_answers(facts),
        *_transitions(facts),
        *_attempts(facts),
        *_watchers(facts),
        *_webhooks(facts),
        *(Violation("task ended", name) for name in facts.missing_tasks),
        *(Violation("left over", f"{count} {name}") for name, count in facts.left_over.items() if count),
        *(Violation("incident", text) for text in facts.incidents),
    ]


def _nothing_lost(facts: Facts) -> Iterable[Violation]:
    """What a caller was told is accepted reached a provider, or says why not."""
    have, entries = _taken(facts), _by_token(facts)
    for told in facts.told:
        if told.answer in ("", "error", "rejected", "cancelled"):
            continue
        entry = entries.get(told.token)
        if entry is None:
            yield Violation("lost", f"{told.token} was answered {told.answer} and is not on record")
        elif told.answer in ("sent", "delivered") and not have[told.token]:
            yield Violation("lost", f"{told.token} was answered {told.answer} and no provider has it")
        elif told.answer == "queued" and not have[told.token] and entry.state not in _EXCUSES:
            yield Violation("lost", f"{told.token} was queued, no provider has it, and it is {entry.state}")
    for entry in facts.entries:
        if entry.state in ("queued", "sending"):
            yield Violation("lost", f"{entry.token} is {entry.state} for ever")
        if entry.state in ("sent", "delivered") and not have[entry.token]:
            yield Violation("lost", f"{entry.token} is {entry.state} and no provider has it")


_EXCUSES = frozenset({"unconfirmed", "cancelled", "rejected", "dead"})
"""States of a queued message that no provider has, which tell the caller so."""


def _nothing_twice(facts: Facts) -> Iterable[Violation]:
    """No provider gets a message twice, no other one without a word about it."""
    told, entries = {t.token: t for t in facts.told}, _by_token(facts)
    for token, providers in _taken(facts).items():
        twice = [name for name, count in Counter(providers).items() if count > 1]
        if twice:
            yield Violation("twice", f"{token}: {twice[0]} has it {providers.count(twice[0])} times")
        if len(providers) < 2:
            continue
        call, entry = told.get(token), entries.get(token)
        if call is not None and call.at_most_once:
            yield Violation("twice", f"{token}: at most once was asked for: {providers}")
        elif not (call and call.possible_duplicate) and not (entry and entry.possible_duplicate):
            died_untold = entry is None and facts.killed and not (call and call.keyed)
            if not died_untold:
                yield Violation("twice", f"{token}: {providers} without possible_duplicate")


_IN_DOUBT = frozenset({"QUEUE_IN_DOUBT"})
"""Reasons of errors that say that the message may have been queued."""


def _answers(facts: Facts) -> Iterable[Violation]:
    """Errors are documented ones, and mean that nothing was sent."""
    have, entries = _taken(facts), _by_token(facts)
    for told in facts.told:
        if told.code in ("INTERNAL", "UNKNOWN"):
            yield Violation("answer", f"{told.token}: {told.code} {told.reason}")
        if told.reason in _IN_DOUBT:
            continue
        if told.answer == "cancelled" and have[told.token]:
            yield Violation("answer", f"{told.token}: cancelled, but {have[told.token]} has it")
        if told.answer == "error" and have[told.token]:
            yield Violation("answer", f"{told.token}: {told.code} {told.reason}, but {have[told.token]} has it")
        entry = entries.get(told.token)
        if told.answer == "error" and entry is not None and entry.state in ("sent", "delivered", "unconfirmed"):
            yield Violation("answer", f"{told.token}: {told.code} {told.reason}, but the log says {entry.state}")


def _transitions(facts: Facts) -> Iterable[Violation]:
    """States move along one table, and what is queued is never failed: it goes back, or is dead."""
    queued = {change.message_id for change in facts.changes if change.after == "queued" and not change.before}
    for change in facts.changes:
        if change.after in NEVER_QUEUED and change.message_id in queued:
            yield Violation("transition", f"{change.before} -> {change.after} of a queued message")
        elif change.before != change.after and change.after not in TRANSITIONS.get(change.before, frozenset()):
            yield Violation("transition", f"{change.before or 'nothing'} -> {change.after}")


def _attempts(facts: Facts) -> Iterable[Violation]:
    """Each submission has its row, and each message of the log one record."""
    entries, got = _by_token(facts), defaultdict[str, Counter[str]](Counter)
    for submission in facts.submissions:
        got[submission.token][submission.provider] += 1
    keyed = {t.token for t in facts.told if t.keyed}
    for token, counts in got.items():
        entry = entries.get(token)
        if entry is None:
            if not facts.killed or token in keyed:
                yield Violation("unlogged", f"{token}: {dict(counts)} and no record")
            continue
        rows = Counter(provider for provider, kind in entry.attempts if kind not in ("skipped", "unreachable"))
        for provider, count in counts.items():
            if count > rows[provider]:
                yield Violation("unlogged", f"{token}: {provider} got it {count} times, rows {list(entry.attempts)}")
    for token, count in Counter(e.token for e in facts.entries).items():
        if count > 1:
            yield Violation("unlogged", f"{token}: {count} messages in the log")


def _watchers(facts: Facts) -> Iterable[Violation]:
    """A stream shows states in an order of the table, and ends at one that stays."""
    entries = {e.message_id: e for e in facts.entries}
    for message_id, states in facts.watched.items():
        end = entries[message_id].state if message_id in facts.over and message_id in entries else ""
        yield from _a_story(facts, "watcher", message_id, [*states, end] if end else states)


def _webhooks(facts: Facts) -> Iterable[Violation]:
    """Events tell a story of the table, its end included, and each arrives."""
    for message_id, states in facts.events.items():
        yield from _a_story(facts, "webhook", message_id, states)
        missing = Counter(states) - Counter(facts.posted.get(message_id, ()))
        if missing:
            yield Violation("webhook", f"never posted: {sorted(missing)}")
    if not facts.hooked:
        return
    for entry in facts.entries:
        states = facts.events.get(entry.message_id, [])
        if not states or states[-1] != entry.state:
            yield Violation("webhook", f"the last event is {states[-1:]}, the message is {entry.state}")


def _a_story(facts: Facts, who: str, message_id: str, states: Sequence[str]) -> Iterable[Violation]:
    """Whether what was told as an end is one, unless it was left by a way that the table knows."""
    left = {(c.before, c.after) for c in facts.changes if c.message_id == message_id}
    for before, after in pairwise(states):
        ways = AFTER_AN_END.get(before)
        if ways is not None and before != after and not any((before, way) in left for way in ways):
            ways_taken = [f"{c.before or None} -> {c.after}" for c in facts.changes if c.message_id == message_id]
            yield Violation(who, f"told {before}, then {after}; the log: {ways_taken}")


def _taken(facts: Facts) -> Mapping[str, list[str]]:
    found = defaultdict[str, list[str]](list)
    for submission in facts.submissions:
        if submission.taken:
            found[submission.token].append(submission.provider)
    return found


def _by_token(facts: Facts) -> Mapping[str, Entry]:
    return {entry.token: entry for entry in facts.entries}


def promises(violations: Collection[Violation]) -> Counter[str]:
    """How often each promise was broken."""
    return Counter(v.promise for v in violations)
