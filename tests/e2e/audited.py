"""Runs a program, and writes down what it imports and opens after a mark: AUDIT_LOG, AUDIT_MARK.

To be run as `python -m tests.e2e.audited COMMAND...`, as `relaypost` is. The
mark is a file; what happens while it does not exist is not written down.
"""

import os
import sys
from typing import Any

from relaypost_server.cli import main

WATCHED = ("open", "import", "subprocess.Popen", "os.listdir", "os.scandir", "ctypes.dlopen")


def watch(log: str, mark: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in WATCHED and os.path.exists(mark):  # noqa: PTH110 - it raises no event itself
            os.write(descriptor, f"{event} {arguments[0]!r}\n".encode())

    sys.addaudithook(hook)


if __name__ == "__main__":
    watch(os.environ["AUDIT_LOG"], os.environ["AUDIT_MARK"])
    main()
