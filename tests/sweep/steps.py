"""Where the world can be touched, and what goes wrong there."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Mode(StrEnum):
    """What goes wrong at a step."""

    LOST_BEFORE = "lost-before"
    """The connection is lost before the peer got the request."""
    LOST_AFTER = "lost-after"
    """The connection is lost after the peer did what it was asked, before its answer."""
    GONE = "gone"
    """As LOST_AFTER, and the peer is away for longer than every time-out."""
    HANG = "hang"
    """The peer does what it is asked, and says nothing for longer than every time-out."""
    READ_ONLY = "read-only"
    """The connections to the database end, and it refuses to write for longer than every time-out."""
    STANDBY = "standby"
    """The same, for a gateway whose URL asks for a server that writes."""
    CANCEL = "cancel"
    """The task that the step is part of is cancelled."""
    STOP = "stop"
    """The gateway gets SIGTERM."""
    KILL_BEFORE = "kill-before"
    """The process ends before the peer got the request."""
    KILL_AFTER = "kill-after"
    """The process ends after the peer did what it was asked, before its answer."""


LASTING = frozenset({Mode.GONE, Mode.HANG, Mode.READ_ONLY, Mode.STANDBY})
"""Modes whose trouble goes on until the world is healed."""
TROUBLE_SECONDS = 45.0
"""Longer than every time-out."""


@dataclass(frozen=True, slots=True)
class Step:
    """The `number`-th time that the world is touched in this way."""

    label: str
    number: int

    def __str__(self) -> str:
        return f"{self.label} #{self.number}"

    @property
    def peer(self) -> str:
        """Who is touched: db, engine, spool, webhook, or a provider."""
        return self.label.partition(" ")[0]


@dataclass
class Steps:
    """Counts the steps of a run while it is armed, and says what goes wrong at which."""

    target: Step | None = None
    mode: Mode | None = None
    armed: bool = False
    taken: list[Step] = field(default_factory=list)
    fruitful: set[Step] = field(default_factory=set)
    """Steps at which a statement gave rows, or a transaction in which one did was committed."""
    fired: bool = False
    _counts: Counter[str] = field(default_factory=Counter)

    def touch(self, label: str, *, fruitful: bool = False) -> Mode | None:
        """To be called before the peer gets the request: what goes wrong, or None."""
        if not self.armed:
            return None
        self._counts[label] += 1
        step = Step(label, self._counts[label])
        self.taken.append(step)
        if fruitful:
            self.fruitful.add(step)
        if step != self.target or self.fired:
            return None
        self.fired = True
        return self.mode

    def latest(self) -> Step | None:
        """The step that was taken last, while they are counted."""
        return self.taken[-1] if self.armed and self.taken else None
