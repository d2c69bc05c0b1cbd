"""`relaypost demo`: an email and an SMS survive the failure of their first provider."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click
import uvloop
from relaypost import AsyncClient
from relaypost.v1 import message_pb2
from rich.console import Console

from relaypost_server.app import Gateway
from relaypost_server.cli._common import FAILED
from relaypost_server.cli.waterfall import waterfall
from relaypost_server.config import load
from relaypost_server.telemetry import logs

_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nx-amzn-ErrorType: ServiceUnavailableException\r\n"
    b"Content-Length: 2\r\nConnection: close\r\n\r\n{}"
)
THINKING_SECONDS = 0.15
"""How long the failing provider takes to say that it fails."""


@click.command()
def demo() -> None:
    """Send an email and an SMS while the first provider of each chain is failing.

    Needs no account, no setting and no network: SES answers 503, SNS refuses
    connections, and the console carries both messages. Exits 0 if it did.
    """
    logs.configure(level="ERROR")
    sys.exit(uvloop.run(_show()))


async def _show() -> int:
    out = Console(highlight=False)
    async with _busy_server() as port, _gateway(ses_port=port) as target, AsyncClient(target) as client:
        out.print("[bold]An email, while SES answers 503[/]\n")
        email = await client.send_email(
            to="ada@example.com", subject="Welcome", text="It arrived all the same.", sender="noreply@example.com"
        )
        _print(out, email)
        out.print("[bold]A text message, while SNS refuses connections[/]\n")
        sms = await client.send_sms(to="+14155550123", text="So did this.")
        _print(out, sms)
    survived = all(m.state == message_pb2.MESSAGE_STATE_SENT and len(m.attempts) > 1 for m in (email, sms))
    return 0 if survived else FAILED


def _print(out: Console, message: message_pb2.Message) -> None:
    out.print()
    out.print(waterfall(message.attempts, out.width))
    out.print()


@asynccontextmanager
async def _gateway(ses_port: int) -> AsyncIterator[str]:
    """A gateway on free ports, with a database that is thrown away; its gRPC address."""
    with tempfile.TemporaryDirectory(prefix="relaypost-demo-") as home:
        os.chmod(home, 0o755)  # noqa: PTH101, S103 - PostgreSQL may run as nobody.
        # In this process's own environment, for that is where the AWS libraries look for keys.
        os.environ.update({"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo"})
        gateway = Gateway(
            load(
                {
                    "AWS_REGION": "us-east-1",
                    "RELAYPOST_SES_ENDPOINT": f"http://127.0.0.1:{ses_port}",
                    "RELAYPOST_SNS_ENDPOINT": "http://127.0.0.1:9",
                    "RELAYPOST_CONSOLE_BESIDE_REAL": "true",
                    "RELAYPOST_GRPC_ADDRESS": "127.0.0.1:0",
                    "RELAYPOST_HTTP_ADDRESS": "127.0.0.1:0",
                    "RELAYPOST_DATA_DIR": home,
                }
            )
        )
        endpoints = await gateway.start()
        try:
            yield endpoints.grpc
        finally:
            await gateway.stop(delay=0.0)


@asynccontextmanager
async def _busy_server() -> AsyncIterator[int]:
    """A provider that is down, and says so; its port."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(THINKING_SECONDS)
        writer.write(_ANSWER)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
