"""Delivers webhooks: claims what is due, posts it, and notes how that ended."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from relaypost_server.core.background import Task
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.webhook import ClaimedDelivery, DeliveryState
from relaypost_server.core.webhook_ports import WebhookSender, WebhookStore
from relaypost_server.core.webhook_retry import Answer, Settlement, settle
from relaypost_server.core.webhook_signing import headers
from relaypost_server.flow.background import Background
from relaypost_server.flow.clock import Clock
from relaypost_server.telemetry.metrics import Metrics

POLL_SECONDS = 1.0
"""Between two looks for what is due."""
GATHER_SECONDS = 0.005
"""How long the first outcome waits for others, to be noted in one statement."""
MOST_UNDER_WAY = 256
"""Attempts at once, to all endpoints."""
LEASE_MARGIN_SECONDS = 15.0
"""Beyond the longest attempt, for noting how it ended."""
STOP_SECONDS = 1.0
"""How long a shutdown waits for what is under way; what is cut off is delivered once more after its lease."""

log = structlog.get_logger("relaypost.webhooks")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryTerms:
    """How deliveries are tried."""

    delays: Sequence[float]
    """Seconds before each repetition; there are as many of them."""
    timeout: float
    """Seconds that an attempt may take."""
    each: int
    """Attempts at one endpoint at once, of this gateway: a slow one takes up no more."""


class WebhookWorker(Background):
    """Shares the work with the other gateways of the database: each delivery is leased to one."""

    def __init__(
        self, store: WebhookStore, sender: WebhookSender, terms: DeliveryTerms, metrics: Metrics, clock: Clock
    ) -> None:
        self._store = store
        self._sender = sender
        self._terms = terms
        self._metrics = metrics
        self._clock = clock
        self._under_way: dict[asyncio.Task[None], str] = {}
        """The endpoint of each attempt."""
        self._ended: list[Settlement] = []
        """What has not been noted yet."""
        self._news = asyncio.Event()

    async def stop(self) -> None:
        await super().stop()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=STOP_SECONDS)
        left = list(self._under_way)
        for attempt in left:
            attempt.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._note()
        except (LogUnavailableError, TimeoutError):
            log.warning("webhook outcomes not noted", deliveries=len(self._ended))

    def tasks(self) -> Sequence[Task]:
        return [Task(name="webhook_delivery", round=self._round)]

    async def _round(self) -> float:
        try:
            await self._note()
            await self._begin()
        except LogUnavailableError:
            return POLL_SECONDS
        await self._wait()
        return 0.0

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()
        await asyncio.sleep(GATHER_SECONDS)

    async def _note(self) -> None:
        """Notes what has ended. Raises LogUnavailableError; it is kept for the next time then."""
        ended = self._ended[:]
        if ended:
            await self._store.settle(ended)
            del self._ended[: len(ended)]

    async def _begin(self) -> None:
        """Begins as many attempts as are due and there is room for. Raises LogUnavailableError."""
        room = MOST_UNDER_WAY - len(self._under_way)
        if room <= 0:
            return
        claimed = await self._store.claim(
            busy=Counter(self._under_way.values()),
            each=self._terms.each,
            most=room,
            lease=self._terms.timeout + LEASE_MARGIN_SECONDS,
        )
        for delivery in claimed:
            task = asyncio.create_task(self._attempt(delivery))
            self._under_way[task] = delivery.endpoint_id
            task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._news.set()

    async def _attempt(self, delivery: ClaimedDelivery) -> None:
        began = self._clock.monotonic()
        answer = await self._post(delivery)
        chance = random.random()  # noqa: S311 - it spreads load and guards nothing.
        settlement = settle(delivery, answer, self._terms.delays, chance)
        self._ended.append(settlement)
        result = "retried" if settlement.state is DeliveryState.PENDING else settlement.state.value
        self._metrics.webhook(result, self._clock.monotonic() - began)
        _report(settlement)

    async def _post(self, delivery: ClaimedDelivery) -> Answer:
        event = delivery.event
        body = event.body
        signed = headers(event.id, int(self._clock.wall().timestamp()), body, delivery.secrets)
        try:
            return await self._sender.post(delivery.url, signed, body)
        except Exception as error:  # A bug in the way out must not repeat this delivery for ever.
            log.exception("webhook attempt failed", delivery_id=delivery.id)
            return Answer(detail=f"internal error ({type(error).__name__})")


def _report(settlement: Settlement) -> None:
    delivery, answer = settlement.delivery, settlement.answer
    names = {"delivery_id": delivery.id, "endpoint_id": delivery.endpoint_id, "event_type": delivery.event.type}
    if settlement.state is DeliveryState.DEAD:
        log.warning("webhook given up", **names, attempts=delivery.attempt, why=answer.detail)
    elif not answer.ok:
        log.info("webhook failed", **names, attempt=delivery.attempt, why=answer.detail, retry_in=settlement.delay)
    if settlement.gone:
        log.warning("webhook endpoint disabled", endpoint_id=delivery.endpoint_id, why=answer.detail)
