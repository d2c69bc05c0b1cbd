"""Access tokens that a command prints: the command is ended when its time is over, whatever it has begun."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relaypost_server.providers._oauth_command import TokenCommand
from relaypost_server.providers._oauth_tokens import Token, TokenError, Tokens

GENEROUS = 20.0
"""Seconds for what takes milliseconds on an idle machine."""


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def runs(pid: int) -> bool:
    """Whether the process exists, and is not merely unreaped."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def descriptors() -> int:
    """How many file descriptors this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


@pytest.fixture
def pid_file(tmp_path: Path) -> Iterator[Path]:
    """A file in which a command writes the id of a process that it begins. That process is killed in the end."""
    file = tmp_path / "pid"
    yield file
    if file.exists() and runs(pid := int(file.read_text())):
        os.kill(pid, signal.SIGKILL)


def with_child(file: Path, *, session: bool, then: str) -> list[str]:
    """A command that begins a process which holds its output open for a minute."""
    begin = f"child = subprocess.Popen(['sleep', '60'], start_new_session={session})"
    write = f"open({str(file) + '.new'!r}, 'w').write(str(child.pid)); os.rename({str(file) + '.new'!r}, {str(file)!r})"
    return python(f"import os, subprocess, time; {begin}; {write}; {then}")


async def begun(file: Path) -> int:
    async with asyncio.timeout(GENEROUS):
        while not file.exists():
            await asyncio.sleep(0.01)
    return int(file.read_text())


async def test_a_command_prints_the_token() -> None:
    command = TokenCommand(python("import sys; sys.stderr.write('s3cret'); print('tok$HOME'.replace('$', '.'))"))
    assert await command.fetch() == Token(value="tok.HOME")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["/no/such/program"], "the command cannot be run (FileNotFoundError)"),
        (python("print('token'); raise SystemExit(3)"), "the command ended with 3"),
        (python("print('x' * 100_000)"), "the command printed too much"),
        (python("pass"), "what came is not an access token"),
    ],
)
async def test_a_command_that_gives_no_token_says_why(arguments: list[str], why: str) -> None:
    with pytest.raises(TokenError) as caught:
        await TokenCommand(arguments).fetch()
    assert (str(caught.value), caught.value.passing) == (why, False)


async def test_a_command_that_hangs_fails_after_its_time() -> None:
    with pytest.raises(TokenError, match=r"within 0\.5 s$"):
        await TokenCommand(["sleep", "60"], seconds=0.5).fetch()


async def test_a_command_is_ended_with_what_it_began(pid_file: Path) -> None:
    fetching = asyncio.create_task(TokenCommand(with_child(pid_file, session=False, then="child.wait()")).fetch())
    child = await begun(pid_file)
    assert runs(child)
    fetching.cancel()
    await asyncio.wait([fetching], timeout=GENEROUS)
    assert fetching.cancelled()
    async with asyncio.timeout(GENEROUS):
        while runs(child):
            await asyncio.sleep(0.05)


async def test_a_process_in_its_own_session_that_holds_the_output_open_holds_up_no_fetch(pid_file: Path) -> None:
    fetching = asyncio.create_task(TokenCommand(with_child(pid_file, session=True, then="child.wait()")).fetch())
    child = await begun(pid_file)
    fetching.cancel()
    await asyncio.wait([fetching], timeout=GENEROUS)
    assert fetching.cancelled()
    assert runs(child), "it left the process group"


@pytest.mark.parametrize("session", [True, False])
async def test_a_command_that_ended_well_gave_its_token_whatever_holds_the_output_open(
    pid_file: Path, session: bool
) -> None:
    """As a helper does that starts an agent."""
    before = descriptors()
    command = TokenCommand(with_child(pid_file, session=session, then="print('token')"), seconds=GENEROUS)
    assert await command.fetch() == Token(value="token")
    child = await begun(pid_file)
    async with asyncio.timeout(GENEROUS):
        while descriptors() > before or (runs(child) and not session):
            await asyncio.sleep(0.05)
    assert runs(child) is session, "what stayed in the process group is killed"


async def test_a_fetch_that_fails_is_logged_although_no_caller_waited_for_its_end() -> None:
    tokens = Tokens(TokenCommand(["sleep", "60"], seconds=0.5))
    with capture_logs() as logged:
        waiting = asyncio.create_task(tokens.get())
        await asyncio.sleep(0)
        waiting.cancel()
        async with asyncio.timeout(GENEROUS):
            while not logged:
                await asyncio.sleep(0.05)
    await tokens.close()
    assert [(line["event"], line["why"]) for line in logged] == [
        ("no access token", "the command printed no token within 0.5 s")
    ]
