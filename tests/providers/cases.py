"""What the chain tests need of a provider: its rows as cases, and a peer that gives such answers."""

from dataclasses import dataclass
from typing import Any, Protocol

from relaypost_server.providers._meanings import Meaning


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row, and an answer that it is about."""

    name: str
    meaning: Meaning
    answer: Any
    """As the provider's peer takes it."""
    submissions: int = 1
    to: str = "ada@example.com"
    """Whom an email is for."""


class Peer(Protocol):
    """A provider and the server that it talks to."""

    provider: Any
    """As `give` or `accept` made it: call them first."""

    @property
    def submissions(self) -> int:
        """Messages that the server has received."""
        ...

    def accept(self) -> None:
        """Take messages from now on."""
        ...

    def give(self, answer: Any) -> None:
        """Answer every message so from now on."""
        ...
