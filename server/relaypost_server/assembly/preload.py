"""Loads what libraries would load at the first message that needs it.

A file that cannot be opened then, because descriptors have run out, fails that
message, and with some libraries every later one: phonenumbers keeps a lock when
the numbering plan of a country cannot be read. Nothing of this is needed to
begin to serve, so it is loaded in a thread once the gateway serves.
"""

import asyncio
import contextlib
import gc
from importlib import import_module

import structlog

from relaypost_server.addresses import load_numbering_plans

MODULES = (
    "encodings.idna",
    "encodings.punycode",
    "idna.uts46data",
    "cryptography.hazmat.backends.openssl.backend",
)
"""Those that codecs and verifiers import by themselves."""

log = structlog.get_logger("relaypost")


class Preload:
    """A task that ends once everything is loaded."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        try:
            await asyncio.to_thread(load)
        except (ImportError, OSError) as error:
            log.warning("not everything could be loaded ahead of its use", error=type(error).__name__)
        # What is loaded now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        log.debug("preloaded")


def load() -> None:
    """Loads everything. Raises ImportError or OSError; then it may be called again."""
    load_numbering_plans()
    for name in MODULES:
        import_module(name)
