"""BROKEN: commands that print access tokens, and what they leave behind or hide."""

import asyncio
import os
import sys

import pytest

from relaypost_server.providers._oauth_sources import TokenCommand
from relaypost_server.providers._oauth_tokens import TokenError
from tests.fakes.smtp import fake_smtp
from tests.providers.configured import build
from tests import messages

LEAVES_ONE_BEHIND = "sleep 30 & echo token-1; echo $! > {pid}"


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_command_that_ended_leaves_no_process_and_no_descriptor_behind(tmp_path) -> None:
    """A helper that starts an agent, as gpg and cloud tools do: the agent holds the pipe."""
    pid = tmp_path / "pid"
    command = TokenCommand(["sh", "-c", LEAVES_ONE_BEHIND.format(pid=pid)], seconds=0.7)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        try:
            await command.fetch()
        except TokenError as error:
            print("refused", error)
    await asyncio.sleep(0.2)
    left = int(pid.read_text())
    lives, open_now = alive(left), len(os.listdir("/proc/self/fd"))
    if lives:
        os.kill(left, 9)
    assert open_now <= before + 1, f"{open_now - before} descriptors are left open"
    assert not lives, "what the command began still runs"


async def test_a_command_that_ended_well_gave_its_token(tmp_path) -> None:
    command = TokenCommand(["sh", "-c", LEAVES_ONE_BEHIND.format(pid=tmp_path / "pid")], seconds=1.0)
    try:
        token = await command.fetch()
    finally:
        left = int((tmp_path / "pid").read_text())
        if alive(left):
            os.kill(left, 9)
    assert token.value == "token-1"


async def test_a_hanging_command_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """No attempt waits as long as the command may take: each says "too little time", and nobody hears why."""
    async with fake_smtp() as peer:
        smtp = build(
            "smtp",
            {
                "SMTP_HOST": "127.0.0.1", "RELAYPOST_SMTP_TLS": "none", "SMTP_PORT": str(peer.port), "SMTP_USER": "u",
                "RELAYPOST_SMTP_OAUTH_TOKEN_COMMAND": f"{sys.executable} -c 'import time; time.sleep(60)'",
            },
        )
        outcome = await smtp.send(messages.email(), timeout=1.5)
        await smtp.close()
    assert "token" in outcome.detail, outcome
