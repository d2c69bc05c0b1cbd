"""Keeps large bodies from stopping the event loop."""

import asyncio
from collections.abc import Callable

from relaypost_server.core.message import Email

LARGE = 256 * 1024
"""Bytes of attachments whose encoding takes longer than a thread costs."""


async def built(email: Email, build: Callable[[], bytes]) -> bytes:
    """The body that `build` makes of the email; in a thread where it is large."""
    if not email.attachments or sum(len(a.content) for a in email.attachments) < LARGE:
        return build()
    return await asyncio.to_thread(build)
