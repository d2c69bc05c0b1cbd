"""The real gateway: `relaypost serve` as a process of its own."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from relaypost import AsyncClient, RelaypostError
from relaypost.v1 import message_pb2

START_SECONDS = 60.0
LONGEST_LINE = 16 * 1024 * 1024
"""Bytes that the gateway may print or log without a newline."""
AWS_KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}
QUIET = {
    "OTEL_TRACES_EXPORTER": "none",
    "OTP_FROM_EMAIL": "noreply@example.com",
    "RELAYPOST_OTP_PEPPER": "a pepper for tests, of 32 characters or more",
    "RELAYPOST_GRPC_ADDRESS": "127.0.0.1:0",
    "RELAYPOST_HTTP_ADDRESS": "127.0.0.1:0",
    "RELAYPOST_SHUTDOWN_DELAY_SECONDS": "0",
}


@dataclass
class Gateway:
    """A running gateway, and everything that it has logged or printed."""

    process: asyncio.subprocess.Process
    grpc: str = ""
    http: str = ""
    logged: list[dict[str, Any]] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.http}{path}") as answer:
            return answer.status, await answer.text()

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.logged if line.get("event") == name]

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        async with asyncio.timeout(40):
            return await self.process.wait()


async def on_record(client: AsyncClient, message_id: str) -> message_pb2.Message:
    """The message from the log, once it is there: on a slow machine it may take the way over the spool."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(RelaypostError):
                return await client.get_message(message_id)
            await asyncio.sleep(0.05)


def environment(*parts: Mapping[str, str]) -> dict[str, str]:
    """Nothing of this process's environment but what a program needs to run."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    merged = {"HOME": os.environ.get("HOME", "/"), **kept, **QUIET}
    for part in parts:
        merged |= part
    return merged


@asynccontextmanager
async def gateway(
    *environ: Mapping[str, str],
    database: str = "",
    data_dir: Path | None = None,
    within: Sequence[str] = (),
    command: str = "serve",
) -> AsyncIterator[Gateway]:
    """A gateway on the given database, or on a bundled one in `data_dir`; its spool is thrown away, or there too.

    `within` is a command that runs it. `command`: serve, or work.
    """
    with tempfile.TemporaryDirectory() as thrown_away:
        where = {"RELAYPOST_DATA_DIR": str(data_dir or thrown_away)}
        if database:
            where["RELAYPOST_DATABASE_URL"] = database
        async with _running(environment(where, *environ), within, command) as running:
            yield running


@asynccontextmanager
async def _running(environ: Mapping[str, str], within: Sequence[str], command: str) -> AsyncIterator[Gateway]:
    process = await asyncio.create_subprocess_exec(
        *within,
        sys.executable,
        "-m",
        "relaypost_server",
        command,
        "--json",
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
    )
    running = Gateway(process)
    readers = [asyncio.create_task(_read_log(running)), asyncio.create_task(_read_output(running))]
    try:
        await _until(running, f"{command.removesuffix('e')}ing")
        yield running
    finally:
        if process.returncode is None:
            await running.stop(signal.SIGKILL)
        await asyncio.gather(*readers)


async def _read_log(running: Gateway) -> None:
    assert running.process.stderr is not None
    while line := (await running.process.stderr.readline()).decode():
        running.raw.append(line)
        with contextlib.suppress(ValueError):
            running.logged.append(json.loads(line))


async def _read_output(running: Gateway) -> None:
    assert running.process.stdout is not None
    while line := (await running.process.stdout.readline()).decode():
        running.printed.append(line)


async def _until(running: Gateway, begun: str) -> None:
    async with asyncio.timeout(START_SECONDS):
        while not running.events(begun):
            if running.process.returncode is not None:
                raise RuntimeError("the gateway did not start:\n" + "".join(running.raw[-30:]))
            await asyncio.sleep(0.02)
    (event,) = running.events(begun)
    running.grpc, running.http = event["grpc"], event["http"]
