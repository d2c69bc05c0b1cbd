"""Starts a fake, and ends every connection with it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(
    handle: Handler, *, limit: int, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """Serves on a free port of this machine, which it yields."""
    running: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handle(reader, writer)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(run(reader, writer))
        running[task] = writer
        task.add_done_callback(running.pop)

    server = await asyncio.start_server(accept, host, 0, limit=limit, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        left = dict(running)
        for task, writer in left.items():
            task.cancel()
            writer.transport.abort()  # A task that has not begun closes nothing.
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0)
