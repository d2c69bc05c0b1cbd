"""Gathers the state of all chains and of the message log."""

from collections.abc import Sequence
from typing import Protocol

from relaypost_server.core.health import Health, MessageLogHealth
from relaypost_server.core.message import Email, Sms
from relaypost_server.flow.chain import Chain


class WatchedLog(Protocol):
    """A message log that knows how it is."""

    def health(self) -> MessageLogHealth: ...


class HealthReader:
    """Reads only: it takes no permit and calls nobody."""

    def __init__(self, chains: Sequence[Chain[Email] | Chain[Sms]], message_log: WatchedLog) -> None:
        self._chains = chains
        self._log = message_log

    def read(self) -> Health:
        return Health(
            channels=tuple(chain.health() for chain in self._chains),
            message_log=self._log.health(),
        )
