"""Distinguishes the cancellation of a task from that of something that it awaits."""

import asyncio


def is_cancelled() -> bool:
    """Whether the current task is being cancelled.

    A CancelledError that is caught while this is False came from an awaited task or future. Outside a task, as in a
    callback, a CancelledError is always the caller's own: True.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
