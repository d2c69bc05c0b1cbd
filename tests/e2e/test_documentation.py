"""The examples of the documentation, run as a reader would run them."""

import asyncio
import json
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from relaypost.v1 import message_pb2

from tests import peers
from tests.e2e.gateway import AWS_KEYS, Gateway, gateway

README = (peers.ROOT / "README.md").read_text()
ERRORS = (peers.ROOT / "docs" / "errors.md").read_text()
ADDRESS = "127.0.0.1:50051"


def blocks(text: str, language: str = "") -> list[str]:
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [body for found, body in fences if found == language]


def section(text: str, heading: str) -> str:
    return text.split(f"\n## {heading}\n")[1].split("\n## ", maxsplit=1)[0]


@pytest.fixture
async def failing(bundled_database: str) -> AsyncIterator[Gateway]:
    """The gateway of the README's section on failover."""
    command = next(b for b in blocks(section(README, "Watch a failover")) if "make serve" in b)
    words = shlex.split(command.replace("\\\n", " "))
    environ = dict(word.split("=", maxsplit=1) for word in words if "=" in word)
    async with gateway(AWS_KEYS, environ, {"OTP_FROM_EMAIL": ""}, database=bundled_database) as started:
        yield started


async def grpcurl(command: str, target: str) -> str:
    """What a documented command prints."""
    tool = peers.program("grpcurl", Path(sys.executable).parent)
    words = [w for w in shlex.split(command.replace("\\\n", " "))[1:] if w not in (ADDRESS, "-plaintext")]
    call = [str(tool), "-plaintext", *words[:-1], target, words[-1]]
    done = await asyncio.to_thread(subprocess.run, call, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def without_what_changes(attempts: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [(a["provider"], a["kind"], a.get("detail", ""), a["circuit_state"]) for a in attempts]


async def test_the_readme_fails_over_as_it_says(failing: Gateway) -> None:
    [send_email, send_sms] = [b for b in blocks(section(README, "Send something")) if b.startswith("grpcurl")]
    told = next(b for b in blocks(README, "json") if '"ses"' in b)
    answers = [json.loads(await grpcurl(send_email, failing.grpc))["message"] for _ in range(6)]
    expected = json.loads(f"{{{told.strip().rstrip(',')}}}")["attempts"]
    for answer in answers[:5]:
        assert without_what_changes(answer["attempts"]) == without_what_changes(expected)
    skip = next(b for b in blocks(README, "json") if "SKIPPED" in b)
    assert without_what_changes(answers[5]["attempts"][:1]) == without_what_changes(
        [json.loads(skip.strip().rstrip(","))]
    )
    [ask] = [b for b in blocks(section(README, "Watch a failover")) if b.startswith("grpcurl")]
    health = json.loads(await grpcurl(ask, failing.grpc))["channels"][0]["providers"][0]
    told_health = next(json.loads(b) for b in blocks(README, "json") if "consecutive_failures" in b)
    assert set(health) == set(told_health["channels"][0]["providers"][0])
    assert json.loads(await grpcurl(send_sms, failing.grpc))["message"]["provider"] == "console"
    assert "│ Your code is ••••••\n" in failing.printed


@pytest.mark.parametrize("page", ["README.md", "docs/errors.md", "docs/migration.md"])
async def test_the_python_examples_send(failing: Gateway, page: str) -> None:
    examples = blocks((peers.ROOT / page).read_text(), "python")
    for code in examples:
        if code.startswith("# before"):
            continue
        names: dict[str, Any] = {"pdf": b"%PDF"}
        await asyncio.to_thread(exec, code.replace(ADDRESS, failing.grpc), names)
        assert names["message"].state == message_pb2.MESSAGE_STATE_SENT
        names["relaypost"].close()


@pytest.mark.parametrize("reason", ["INVALID_FIELD", "SEND_DEADLINE", "MESSAGE_NOT_FOUND"])
async def test_the_errors_are_printed_as_documented(failing: Gateway, reason: str) -> None:
    command, told = blocks(section(ERRORS, reason))[:2]
    printed = await grpcurl(command, failing.grpc)
    assert printed.splitlines()[:3] == told.splitlines()[:3]
    assert f'"reason":"{reason}"' in printed
