"""Commands that print access tokens: what they leave behind, and what is told."""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relaypost_server.providers._oauth_sources import TokenCommand
from relaypost_server.providers._oauth_tokens import TokenError, Tokens

LEAVES_ONE_BEHIND = "sleep 30 & echo token-1; echo $! > {pid}"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_command_that_ended_leaves_no_process_and_no_descriptor_behind(tmp_path: Path) -> None:
    """A helper that starts an agent, as gpg and cloud tools do: the agent holds the pipe."""
    pid = tmp_path / "pid"
    command = TokenCommand(["sh", "-c", LEAVES_ONE_BEHIND.format(pid=pid)], seconds=0.7)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with contextlib.suppress(TokenError):
            await command.fetch()
    await asyncio.sleep(0.2)
    left = int(pid.read_text())
    lives, open_now = alive(left), len(list(Path("/proc/self/fd").iterdir()))
    if lives:
        os.kill(left, 9)
    assert open_now <= before + 1, f"{open_now - before} descriptors are left open"
    assert not lives, "what the command began still runs"


async def test_a_command_that_ended_well_gave_its_token(tmp_path: Path) -> None:
    command = TokenCommand(["sh", "-c", LEAVES_ONE_BEHIND.format(pid=tmp_path / "pid")], seconds=1.0)
    try:
        token = await command.fetch()
    finally:
        left = int((tmp_path / "pid").read_text())
        if alive(left):
            os.kill(left, 9)
    assert token.value == "token-1"


async def test_that_there_is_no_token_is_told_although_nobody_waited_so_long() -> None:
    """An attempt that gives up before the command does says "too little time left", and was all that anybody heard."""
    tokens = Tokens(TokenCommand([sys.executable, "-c", "import time; time.sleep(60)"], seconds=0.5))
    with capture_logs() as logged:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await tokens.get()
        await asyncio.sleep(1.0)
    await tokens.close()
    assert [line["why"] for line in logged if line["event"] == "no access token"] == [
        "the command printed no token within 0 s"
    ]
