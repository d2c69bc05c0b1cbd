"""Clients that send at a steady rate, each as careful as a client should be."""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import grpc
from relaypost import AsyncClient, RelaypostError, SendFailedError
from relaypost.v1 import message_pb2

from tests.faults.history import Call, Result
from tests.faults.world import KEYED_SENDS

TICK = 0.02
"""Seconds between two handfuls of calls."""
MOST_IN_FLIGHT = 1500
TIMEOUT = 5.0
PATIENCE = 60.0
"""How long a caller with a request_id goes on trying, in seconds."""
_RECONNECT = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
_TRY_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A message that somebody wants sent."""

    token: str
    email: bool
    at_most_once: bool
    keyed: bool


class Callers:
    """Everybody who sends, over one connection to each gateway."""

    def __init__(self, targets: Sequence[str], *, seed: int, rate: int, keyed: bool = KEYED_SENDS) -> None:
        """`rate` is in messages a second; `keyed` gives every second message a request_id."""
        self.calls: list[Call] = []
        self.answers: Counter[str] = Counter()
        """How often each result was given, errors by their reason."""
        self._channels = [grpc.aio.insecure_channel(target, options=_RECONNECT) for target in targets]
        self._clients = [AsyncClient(channel=channel) for channel in self._channels]
        self._answered: list[deque[tuple[float, int]]] = [deque() for _ in targets]
        self._random = random.Random(seed)
        self._seed = seed
        self._rate = rate
        self._keyed = keyed
        self._running: set[asyncio.Task[None]] = set()
        self._wishes = 0

    async def send_until(self, stop: asyncio.Event) -> None:
        """Begins `rate` messages a second until told to stop, and waits for those that have begun."""
        loop, due = asyncio.get_running_loop(), 0.0
        while not stop.is_set():
            began = loop.time()
            while due >= 1 and len(self._running) < MOST_IN_FLIGHT:
                self._begin()
                due -= 1
            await asyncio.sleep(TICK)
            due = min(due + self._rate * (loop.time() - began), self._rate)
        await asyncio.gather(*self._running)

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for client in self._clients:
            await client.close()

    def excuse(self, gateway: int, seconds: float) -> None:
        """What this gateway answered within the last seconds may be missing in the log."""
        since = asyncio.get_running_loop().time() - seconds
        for answered_at, index in self._answered[gateway]:
            call = self.calls[index]
            if answered_at >= since and not call.keyed:
                self.calls[index] = replace(call, excused=True)

    def _begin(self) -> None:
        draw, self._wishes = self._random.random, self._wishes + 1
        wish = Wish(
            token=f"{self._seed:x}-{self._wishes}",
            email=draw() < 0.6,
            at_most_once=draw() < 0.3,
            keyed=self._keyed and draw() < 0.5,
        )
        task = asyncio.create_task(self._fulfil(wish))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _fulfil(self, wish: Wish) -> None:
        """Tries again only where that is safe: with a request_id, after UNAVAILABLE, ABORTED or no answer."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + PATIENCE
        while True:
            gateway = self._choose()
            try:
                message = await _send(self._clients[gateway], wish)
            except RelaypostError as error:
                if wish.keyed and loop.time() < give_up and (error.code in _TRY_AGAIN or not error.reason):
                    self.answers[f"tried again: {_named(error)}"] += 1
                    await asyncio.sleep(min(error.retry_after or 0.2, 2.0) * self._random.uniform(1.0, 1.5))
                    continue
                self._note(gateway, _failure(wish, error), _named(error))
            else:
                self._note(gateway, _success(wish, message), "")
            return

    def _choose(self) -> int:
        """A gateway that is connected, as gRPC's own balancing would choose; any where none is."""
        states = [channel.get_state(try_to_connect=True) for channel in self._channels]
        connected = [n for n, state in enumerate(states) if state is grpc.ChannelConnectivity.READY]
        return self._random.choice(connected or range(len(states)))

    def _note(self, gateway: int, call: Call, error: str) -> None:
        self.answers[error or call.result.value] += 1
        self._answered[gateway].append((asyncio.get_running_loop().time(), len(self.calls)))
        self.calls.append(call)


async def _send(client: AsyncClient, wish: Wish) -> message_pb2.Message:
    fields: dict[str, Any] = {"at_most_once": wish.at_most_once, "metadata": {"token": wish.token}, "timeout": TIMEOUT}
    if wish.keyed:
        fields["request_id"] = wish.token
    text = f"Your code token={wish.token} is ready"
    if wish.email:
        return await client.send_email(to="ada@example.com", subject=text, text="Hi", **fields)
    return await client.send_sms(to="+14155550123", text=text, **fields)


def _success(wish: Wish, message: message_pb2.Message) -> Call:
    sent = message.state == message_pb2.MESSAGE_STATE_SENT
    return Call(
        token=wish.token,
        result=Result.SENT if sent else Result.UNCONFIRMED,
        at_most_once=wish.at_most_once,
        keyed=wish.keyed,
        message_id=message.message_id,
        possible_duplicate=message.possible_duplicate,
    )


def _failure(wish: Wish, error: RelaypostError) -> Call:
    """Without a request_id every error of the gateway means that nothing was sent."""
    known = isinstance(error, SendFailedError) or (bool(error.reason) and not wish.keyed)
    return Call(
        token=wish.token,
        result=Result.FAILED if known else Result.UNKNOWN,
        at_most_once=wish.at_most_once,
        keyed=wish.keyed,
        message_id=error.message_id if isinstance(error, SendFailedError) else "",
    )


def _named(error: RelaypostError) -> str:
    return error.reason or f"no answer ({error.code.name})"
