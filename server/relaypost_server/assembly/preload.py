"""Loads modules and data that libraries would load at the first message.

A file that cannot be opened then, because descriptors have run out, fails that
message, and with some libraries every later one: phonenumbers keeps a lock when
the numbering plan of a country cannot be read. Nothing of this is needed to
begin to serve, so it is loaded in a thread once the gateway serves.
"""

import asyncio
import gc
from importlib import import_module

import structlog

from relaypost_server.addresses.phones import load_numbering_plans
from relaypost_server.core.background import Task

MODULES = (
    "encodings.idna",
    "encodings.punycode",
    "idna.uts46data",
    "cryptography.hazmat.backends.openssl.backend",
)
"""Modules that codecs and verifiers import at first use."""
AGAIN_SECONDS = 24 * 3600.0
"""Pause between rounds; a second round finds everything loaded."""

log = structlog.get_logger("relaypost")


def preload() -> Task:
    """Loads everything once the gateway serves; where that fails, it is tried again."""
    return Task(name="preload", round=_load, pause=AGAIN_SECONDS)


async def _load() -> None:
    await asyncio.to_thread(load)
    # Loaded modules stay for good: exempt them from garbage collection.
    gc.collect()
    gc.freeze()
    log.debug("preloaded")


def load() -> None:
    """Loads everything. Raises ImportError or OSError; then it may be called again."""
    load_numbering_plans()
    for name in MODULES:
        import_module(name)
