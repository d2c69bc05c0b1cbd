"""What each provider makes of each field of a message, declared as data: docs/providers.md shows it as a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a field reaches the recipient."""

    CARRIED = "carried"
    """In a field of the provider's own for it."""
    EMULATED = "emulated"
    """By the gateway, or by something of the provider's that comes near."""
    LEFT_OUT = "left out"
    """The message is sent without it."""
    UNSUPPORTED = "unsupported"
    """A message that has it is passed over: the next provider is asked."""


@dataclass(frozen=True, slots=True)
class Support:
    """One cell of the table."""

    level: Level
    how: str = ""
    """By what, or within which bounds; for people."""

    def __str__(self) -> str:
        return f"{self.level.value}: {self.how}" if self.how else self.level.value


Fields = Mapping[str, Support]
"""By the name of the field in `relaypost.v1.Email` or `Sms`; a file's own by `attachments.<name>`."""


def carried(how: str = "") -> Support:
    return Support(Level.CARRIED, how)


def emulated(how: str) -> Support:
    return Support(Level.EMULATED, how)


def left_out(how: str) -> Support:
    return Support(Level.LEFT_OUT, how)


def unsupported(how: str = "") -> Support:
    return Support(Level.UNSUPPORTED, how)


OF_TEMPLATES: Fields = {
    "template": emulated("filled in by the gateway"),
    "variables": emulated("filled in by the gateway"),
    "locale": emulated("chosen by the gateway"),
}
"""Fields of a request that are sent to no provider."""
