"""Access tokens that a command prints."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from typing import Final

from relaypost_server.providers._oauth_tokens import LONGEST_TOKEN, Token, TokenError, read_token

COMMAND_SECONDS: Final = 20.0
"""How long a command may take to print a token and end."""
ENDED_SECONDS: Final = 1.0
"""How long a fetch waits for a process that it has killed."""
DRAIN_SECONDS: Final = 0.5
"""How long a fetch reads on after the program ended, while another process holds its output open."""


class TokenCommand:
    """A program that prints the token, alone or as JSON. It runs without a shell; its stderr is thrown away."""

    way = "a token of a command"
    cure = "run RELAYPOST_SMTP_OAUTH_TOKEN_COMMAND by hand"

    def __init__(self, arguments: Sequence[str], *, seconds: float = COMMAND_SECONDS) -> None:
        self._arguments = tuple(arguments)
        self._seconds = seconds

    async def fetch(self) -> Token:
        """Raises TokenError, at the latest `seconds` and ENDED_SECONDS after the program began."""
        try:
            process, output = await asyncio.get_running_loop().subprocess_exec(
                _Output,
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise TokenError(f"the command cannot be run ({type(error).__name__})") from None
        try:
            async with asyncio.timeout(self._seconds):
                printed = await output.complete
        except TimeoutError:
            raise TokenError(f"the command printed no token within {self._seconds:g} s") from None
        finally:
            await _end(process, output)
        if process.get_returncode() != 0:
            raise TokenError(f"the command ended with {process.get_returncode()}")
        return read_token(printed)

    async def close(self) -> None:
        return None


class _Output(asyncio.SubprocessProtocol):
    """Collects what a program prints, and notes when it ends.

    `asyncio.create_subprocess_exec` does not serve: in Python 3.11 its `wait` returns only when every process that
    inherited the pipe has closed it. A process in another session is not killed, and may hold the pipe for ever.
    """

    def __init__(self) -> None:
        self.complete: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        """Done when the program has ended and its output was read. TokenError if it prints too much."""
        self.exited = asyncio.Event()
        self._printed = bytearray()
        self.closed = False

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._printed += data
        if len(self._printed) >= LONGEST_TOKEN and not self.complete.done():
            self.complete.set_exception(TokenError("the command printed too much"))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.closed = True
        if self.exited.is_set():
            self._finish()

    def process_exited(self) -> None:
        self.exited.set()
        if self.closed:
            self._finish()
        else:
            asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._finish)

    def _finish(self) -> None:
        if not self.complete.done():
            self.complete.set_result(bytes(self._printed))


async def _end(process: asyncio.SubprocessTransport, output: _Output) -> None:
    """Kills the program and its process group if it still runs or its output is open, and closes the pipe."""
    if process.get_returncode() is None or not output.closed:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.get_pid(), signal.SIGKILL)
    process.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ENDED_SECONDS):
            await output.exited.wait()
