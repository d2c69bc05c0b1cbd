"""Signals that come while a gateway still imports what it needs."""

import os
import signal
from typing import Any

ENDS = (signal.SIGTERM, signal.SIGINT)


def end_at_once() -> None:
    """Until the gateway has handlers of its own, SIGTERM and Ctrl-C end the process with the exit code 0.

    That is the code of every other start that is given up, and of every stop. Without a handler, SIGTERM does nothing
    to the process of the number 1, which is what a container runs, and Ctrl-C prints a traceback.
    """
    for number in ENDS:
        signal.signal(number, _end)


def _end(*_: Any) -> None:
    os._exit(0)  # Nothing has been started. An exception could be caught by what is being imported.
