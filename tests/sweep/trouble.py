"""What is wrong with the world now, and how long that lasts."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from tests.sweep.steps import Mode, Steps


class Victim(Protocol):
    """The gateway that things happen to."""

    def cancel(self) -> None:
        """Cancels the task that the step is part of."""
        ...

    def stop(self) -> None:
        """As SIGTERM does."""
        ...

    def kill(self) -> None:
        """As SIGKILL does; does not return."""
        ...


class Trouble:
    """The peers that are in trouble, until `heal`."""

    def __init__(self, steps: Steps, victim: Victim) -> None:
        self.steps = steps
        self.victim = victim
        self._modes: dict[str, Mode] = {}
        self._healed = asyncio.Event()
        self._begun: list[Callable[[str, Mode], None]] = []
        self._ended: list[Callable[[], None]] = []

    def on_begin(self, call: Callable[[str, Mode], None]) -> None:
        """To be called with the peer and the mode when a peer gets into trouble."""
        self._begun.append(call)

    def on_heal(self, call: Callable[[], None]) -> None:
        """To be called when all trouble ends."""
        self._ended.append(call)

    def of(self, peer: str) -> Mode | None:
        return self._modes.get(peer)

    def begin(self, peer: str, mode: Mode) -> None:
        self._modes[peer] = mode
        for call in self._begun:
            call(peer, mode)

    def heal(self) -> None:
        """Ends all trouble, for good."""
        self._modes.clear()
        self._healed.set()
        for call in self._ended:
            call()

    def end(self, peer: str) -> None:
        """Ends what a scenario began by itself."""
        self._modes.pop(peer, None)

    async def healed(self) -> None:
        await self._healed.wait()
