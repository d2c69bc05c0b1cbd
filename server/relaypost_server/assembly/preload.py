"""Loads modules and data that libraries would load at the first message.

A file that cannot be opened then, because descriptors have run out, fails that
message, and with some libraries every later one: phonenumbers keeps a lock when
the numbering plan of a country cannot be read. Nothing of this is needed to
begin to serve, so it is loaded in a thread once the gateway serves.
"""

import asyncio
import gc
from collections.abc import Callable
from importlib import import_module

import structlog

from relaypost_server.addresses.phones import load_numbering_plans
from relaypost_server.core.background import Task

MODULES = (
    "email_validator",
    "encodings.idna",
    "encodings.punycode",
    "idna.uts46data",
    "cryptography.hazmat.backends.openssl.backend",
)
"""Modules that codecs and verifiers import at first use."""
AGAIN_SECONDS = 24 * 3600.0
"""Pause between rounds; a second round finds everything loaded."""

log = structlog.get_logger("relaypost")


def preload(*more: Callable[[], None]) -> Task:
    """Loads everything once the gateway serves, `more` included; where that fails, it is tried again."""

    async def load_all() -> None:
        for step in (load, *more):
            await asyncio.to_thread(step)
        # Loaded modules stay for good: exempt them from garbage collection.
        gc.collect()
        gc.freeze()
        log.debug("preloaded")

    return Task(name="preload", round=load_all, pause=AGAIN_SECONDS)


def load() -> None:
    """Loads everything of libraries. Raises ImportError or OSError; then it may be called again."""
    load_numbering_plans()
    for name in MODULES:
        import_module(name)
