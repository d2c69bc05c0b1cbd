"""Tells other gateways what this one found out about a provider, and heeds what they tell.

No send waits for it: what is to be told waits in memory, one entry for each
provider and kind, and is dropped where it cannot be told at once. Without it
every gateway finds out by itself, as it does anyway.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog

from relaypost_server.core.advice import Advice, AdviceKind, BusUnavailableError, Ignored, read, write
from relaypost_server.core.background import Task
from relaypost_server.core.message import Channel
from relaypost_server.flow.background import Background
from relaypost_server.flow.clock import Clock
from relaypost_server.telemetry.metrics import Metrics

SHORTEST_WAIT = 0.25
"""Seconds before a lost bus is asked again; doubled each time."""
LONGEST_WAIT = 5.0
WARN_SECONDS = 60.0
"""Between two warnings that the bus is away."""
CONNECTED = "advice connected"
UNAVAILABLE = "advice unavailable"

log = structlog.get_logger("relaypost.advice")

Key = tuple[Channel, str]


class Bus(Protocol):
    """Carries messages to every gateway that listens now, and keeps none. Its methods take bounded time."""

    async def publish(self, message: bytes) -> None:
        """Raises BusUnavailableError."""
        ...

    async def listen(self, connected: Callable[[], None], hear: Callable[[bytes], None]) -> None:
        """Hands on every message, the own ones included, until it is cancelled. Raises BusUnavailableError."""
        ...

    async def close(self) -> None: ...


class Heeding(Protocol):
    """Someone whom advice about one provider concerns."""

    @property
    def key(self) -> Key: ...

    def heed(self, advice: Advice) -> None: ...


class Advisory(Background):
    """This gateway's part in the exchange."""

    def __init__(
        self, bus: Bus, *, replica: str, metrics: Metrics, clock: Clock, draw: Callable[[], float] = random.random
    ) -> None:
        """`replica`: a name that no other gateway has. `draw`: numbers from 0 to 1, which keep gateways apart."""
        self._bus = bus
        self._replica = replica
        self._metrics = metrics
        self._clock = clock
        self._draw = draw
        self._heeding: dict[Key, Heeding] = {}
        self._untold: dict[tuple[AdviceKind, Key], tuple[float, bytes]] = {}
        """Until when it holds, by the wall clock, and the message."""
        self._work = asyncio.Event()
        self._connected = False
        self._retry = SHORTEST_WAIT
        self._warned_at: float | None = None
        """On the monotonic clock."""
        self._reported = ""
        """What the log said last."""
        metrics.watch_advice(lambda: self._connected)

    def advise(self, those: Iterable[Heeding]) -> None:
        """From now on they are told what concerns them."""
        self._heeding |= {each.key: each for each in those}

    async def stop(self) -> None:
        await super().stop()
        await self._bus.close()

    def tell(self, advice: Advice) -> None:
        """Returns at once. Of what nobody has been told yet about a provider, the one that holds longest is kept."""
        key, now = (advice.kind, (advice.channel, advice.provider)), self._unix_time()
        until, _ = self._untold.get(key, (now, b""))
        if now + advice.seconds > until:
            self._untold[key] = now + advice.seconds, write(advice, replica=self._replica, at=now)
            self._work.set()

    def hear(self, message: bytes) -> None:
        advice = read(message, replica=self._replica, now=self._unix_time())
        if isinstance(advice, Ignored):
            if advice is not Ignored.OWN:
                self._metrics.advice_heard(advice.value)
            return
        heeding = self._heeding.get((advice.channel, advice.provider))
        if heeding is None:
            self._metrics.advice_heard(Ignored.UNKNOWN.value)
            return
        heeding.heed(advice)
        self._metrics.advice_heard("heeded")

    def _unix_time(self) -> float:
        return self._clock.wall().timestamp()

    def tasks(self) -> Sequence[Task]:
        return [
            Task(name="hints_publish", round=self._publish_round),
            Task(name="hints_listen", round=self._listen_round),
        ]

    async def _publish_round(self) -> None:
        await self._work.wait()
        self._work.clear()
        while self._untold:
            _, message = self._untold.pop(next(iter(self._untold)))
            await self._publish(message)

    async def _publish(self, message: bytes) -> None:
        try:
            await self._bus.publish(message)
        except Exception as error:
            self._warn(error)
            self._metrics.advice_told("dropped", 1 + len(self._untold))
            self._untold.clear()
        else:
            self._metrics.advice_told("published", 1)

    async def _listen_round(self) -> float:
        """Until the connection is lost; a lost one is made anew after a short while."""
        try:
            await self._bus.listen(self._note_connection, self.hear)
        except BusUnavailableError as error:
            self._warn(error)
        finally:
            self._retry = SHORTEST_WAIT if self._connected else min(self._retry * 2, LONGEST_WAIT)
            self._connected = False
        return self._retry * (1 + self._draw()) / 2

    def _note_connection(self) -> None:
        self._connected = True
        if self._reported != CONNECTED:
            self._reported = CONNECTED
            log.info(CONNECTED)

    def _warn(self, error: Exception) -> None:
        """Says that others are not heard, or not told: now and then."""
        now = self._clock.monotonic()
        if self._warned_at is not None and now - self._warned_at < WARN_SECONDS:
            return
        self._warned_at, self._reported = now, UNAVAILABLE
        expected = isinstance(error, BusUnavailableError)
        log.warning(UNAVAILABLE, reason=str(error) if expected else type(error).__name__, exc_info=not expected)
