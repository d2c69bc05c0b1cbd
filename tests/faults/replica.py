"""A gateway that is killed and started again, always on the same port."""

import asyncio
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack

from tests.e2e.gateway import Gateway, gateway
from tests.peers import free_port


class Replica:
    """One of the gateways on one database."""

    def __init__(self, environ: Mapping[str, str], database: str) -> None:
        self.target = f"127.0.0.1:{free_port()}"
        self.turning = asyncio.Lock()
        """Held while it is not serving on purpose."""
        self.exit_codes: list[int] = []
        """How it ended whenever it was asked to."""
        self._environ = {**environ, "RELAYPOST_GRPC_ADDRESS": self.target}
        self._database = database
        self._running: Gateway | None = None
        self._life = AsyncExitStack()

    async def start(self) -> None:
        self._running = await self._life.enter_async_context(gateway(self._environ, database=self._database))

    async def kill(self) -> None:
        """As a power cut does."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """As a deployment does."""
        self.exit_codes.append(await self._end(signal.SIGTERM))

    async def close(self) -> None:
        """Ends it if it still runs."""
        self._running = None
        await self._life.aclose()

    async def _end(self, number: signal.Signals) -> int:
        assert self._running is not None
        code = await self._running.stop(number)
        await self.close()
        return code

    def tail(self) -> str:
        """The last that it said."""
        return "".join(self._running.raw[-5:]) if self._running else ""
