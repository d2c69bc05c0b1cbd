"""Takes what providers report about messages, and lets messages catch up with it."""

from collections import Counter
from collections.abc import Iterable, Sequence

import structlog

from relaypost_server.core.background import Task
from relaypost_server.core.ports import (
    Callback,
    CallbackReader,
    CallbackRefusedError,
    CallbackUnverifiedError,
    DeliveryLog,
    LogUnavailableError,
)
from relaypost_server.core.suppression_ports import ReplyReader
from relaypost_server.flow.background import Background
from relaypost_server.flow.suppressions import Suppressions
from relaypost_server.telemetry.metrics import Metrics

MATCH_SECONDS = 1.0
"""How often events are looked at that came before their message was on record."""

log = structlog.get_logger("relaypost.receipts")


class Callbacks:
    """The callbacks of every provider that has receipts."""

    def __init__(
        self,
        readers: Iterable[CallbackReader],
        deliveries: DeliveryLog,
        metrics: Metrics,
        suppressions: Suppressions | None = None,
    ) -> None:
        """`suppressions`: who hears of people that write STOP or START; None: nobody."""
        self._suppressions = suppressions
        self._readers = {reader.name: reader for reader in readers}
        self._deliveries = deliveries
        self._metrics = metrics

    def largest(self, provider: str) -> int | None:
        """The bytes that a callback of the provider may have; None where it has none."""
        reader = self._readers.get(provider)
        return None if reader is None else reader.largest_callback

    def check_head(self, provider: str, head: Callback) -> None:
        """Refuses a callback whose path and headers alone show that it cannot be verified.

        Raises CallbackRefusedError.
        """
        try:
            self._readers[provider].check_head(head)
        except CallbackRefusedError as error:
            self._refused(provider, error.why.value)
            raise

    def kind(self, provider: str, head: Callback) -> str:
        """The name of the room that the callback takes. Replies and receipts have separate rooms."""
        reader = self._readers[provider]
        return f"{provider} replies" if isinstance(reader, ReplyReader) and reader.is_reply(head) else provider

    def turned_away(self, provider: str) -> None:
        """Counts a callback for which there was no room."""
        self._metrics.callback_refused(provider, "busy")

    async def receive(self, provider: str, callback: Callback) -> bool:
        """Returns once everything that the callback reports is durable: whether it was a person's reply.

        Raises CallbackRefusedError, or CallbackUnverifiedError or
        LogUnavailableError where the provider is to repeat it.
        """
        try:
            if await self._heard_reply(provider, callback):
                return True
            events = await self._readers[provider].read_callback(callback)
            await self._deliveries.record(events)
        except CallbackRefusedError as error:
            self._refused(provider, error.why.value)
            raise
        except CallbackUnverifiedError as error:
            log.warning("callback cannot be checked", provider=provider, why=str(error))
            self._metrics.callback_refused(provider, "unverified")
            raise
        except LogUnavailableError:
            self._metrics.callback_refused(provider, "log_unavailable")
            raise
        for kind, count in Counter(e.type for e in events).items():
            self._metrics.receipts(provider, kind, count)
        for event in events:
            if event.alert:
                log.error("receipt tells of a fault in our set-up", provider=provider, code=event.provider_code)
        return False

    async def _heard_reply(self, provider: str, callback: Callback) -> bool:
        reader = self._readers[provider]
        reply = await reader.read_reply(callback) if isinstance(reader, ReplyReader) else None
        if reply is None:
            return False
        if self._suppressions is not None:
            await self._suppressions.heard(reply)
        return True

    def _refused(self, provider: str, why: str) -> None:
        log.warning("callback refused", provider=provider, why=why)
        self._metrics.callback_refused(provider, why)


class Matcher(Background):
    """Looks for events whose message has come after them."""

    def __init__(self, deliveries: DeliveryLog) -> None:
        self._deliveries = deliveries

    def tasks(self) -> Sequence[Task]:
        return [Task(name="receipt_matching", round=self._round, pause=MATCH_SECONDS)]

    async def _round(self) -> float | None:
        return 0.0 if await self._deliveries.match() else None
