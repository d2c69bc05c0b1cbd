"""Gathers the state of all chains and of the message log."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from relaypost_server.core.health import Health, MessageLogHealth
from relaypost_server.core.message import Email, Sms
from relaypost_server.flow.chain import Chain


class WatchedLog(Protocol):
    """A message log that knows how it is."""

    def health(self) -> MessageLogHealth: ...


class HealthReader:
    """Reads only: it takes no permit and calls nobody."""

    def __init__(
        self,
        chains: Sequence[Chain[Email] | Chain[Sms]],
        message_log: WatchedLog,
        *,
        requests_without_log: bool = False,
    ) -> None:
        self._chains = chains
        self._log = message_log
        self._requests_without_log = requests_without_log

    def read(self) -> Health:
        log = self._log.health()
        return Health(
            channels=tuple(chain.health() for chain in self._chains),
            message_log=replace(log, takes_request_ids=log.available or self._requests_without_log),
        )
