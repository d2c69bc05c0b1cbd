"""Brings the providers' own lists of opt-outs into the suppression list."""

from collections.abc import Sequence

import structlog

from relaypost_server.addresses.phones import as_sent_to
from relaypost_server.core.background import Task
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.suppression_ports import OptOutReader, OptOutsUnreadableError, SuppressionStore
from relaypost_server.flow.background import Background

FIRST_SECONDS = 60.0
"""Before the first look after a start: a gateway that starts has more urgent things to do."""
RETRY_SECONDS = 60.0
"""After a look for which there was no database."""

log = structlog.get_logger("relaypost.suppressions")


class OptOuts(Background):
    """One provider's list, read now and then by one of the replicas."""

    def __init__(self, reader: OptOutReader, store: SuppressionStore) -> None:
        self._reader = reader
        self._store = store

    async def round(self) -> None:
        """Reads the list, unless a replica has done so of late. Raises LogUnavailableError."""
        name = self._reader.name
        if not await self._store.claim_opt_outs(name, every=self._reader.opt_outs_every):
            return
        try:
            numbers = {as_sent_to(number) for number in await self._reader.opted_out()}
        except OptOutsUnreadableError as error:
            log.warning("opt-outs cannot be read", provider=name, why=str(error))
            return
        came, went = await self._store.replace_opt_outs(name, numbers)
        log.info("opt-outs read", provider=name, numbers=len(numbers), came=came, went=went)

    def tasks(self) -> Sequence[Task]:
        every = self._reader.opt_outs_every
        return [
            Task(name=f"opt_outs_{self._reader.name}", round=self._round, pause=every, first=min(FIRST_SECONDS, every))
        ]

    async def _round(self) -> float | None:
        try:
            await self.round()
        except LogUnavailableError:
            return min(RETRY_SECONDS, self._reader.opt_outs_every)
        return None
