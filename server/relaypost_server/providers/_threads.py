"""Keeps large bodies from stopping the event loop."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from relaypost_server.core.message import Email
from relaypost_server.core.outcome import Outcome
from relaypost_server.providers._attempt_time import AttemptTime, no_room

LARGE = 256 * 1024
"""Bytes of attachments whose encoding takes longer than a thread costs."""
_encoders = ThreadPoolExecutor(max_workers=2, thread_name_prefix="encode")
"""Threads of their own: look-ups that hang must not hold up a message. Works in the order of the calls."""


async def built(email: Email, build: Callable[[], bytes], attempt: AttemptTime) -> bytes | Outcome:
    """The body that `build` makes of the email, in a thread where it is large; an Outcome where no thread is free."""
    if not email.attachments or sum(len(a.content) for a in email.attachments) < LARGE:
        return build()
    began, limit = time.monotonic(), attempt.left_to_write
    try:
        async with asyncio.timeout(limit):
            return await asyncio.get_running_loop().run_in_executor(_encoders, build)
    except TimeoutError:
        return no_room("no thread encoded the message", limit)
    finally:
        attempt.waited(began)
