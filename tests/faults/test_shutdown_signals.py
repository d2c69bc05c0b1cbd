"""SIGTERM at other times than usual, once more, and beside streams that nobody ends."""

import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from relaypost.v1 import message_pb2

from tests.databases import over_tcp, socket_of
from tests.e2e.gateway import environment
from tests.fakes.http import HANG
from tests.fakes.proxy import Proxy, proxy
from tests.faults.world import every, until, world

LONG = {"RELAYPOST_SHUTDOWN_DELAY_SECONDS": "60", "RELAYPOST_SHUTDOWN_GRACE_SECONDS": "60"}


async def test_a_second_signal_waits_for_nothing_and_loses_nothing(bundled_database: str) -> None:
    """What is in flight is cut off at once; it is recorded, and its caller is told."""
    async with world(bundled_database, LONG, every("TIMEOUT_SECONDS", "30")) as running:
        running.providers.ses.always(HANG)
        sending = asyncio.create_task(running.email(timeout=30.0))
        await until(lambda: running.providers.received("ses") == 1)
        stopping = asyncio.create_task(running.gateway.stop())
        await until(lambda: bool(running.gateway.events("stopping")))
        running.gateway.process.send_signal(signal.SIGTERM)
        assert (await sending).state == message_pb2.MESSAGE_STATE_UNCONFIRMED
        assert await stopping == 0
        assert running.providers.counts == {"ses": 1}
    assert len(running.gateway.events("stopping at once")) == 1


async def test_watches_of_its_health_hold_nothing_up(bundled_database: str) -> None:
    """They hear that it does not serve, and then end with a status that says why."""
    grace = {"RELAYPOST_SHUTDOWN_DELAY_SECONDS": "0.5", "RELAYPOST_SHUTDOWN_GRACE_SECONDS": "60"}
    async with world(bundled_database, grace) as running, grpc.aio.insecure_channel(running.gateway.grpc) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        assert await running.gateway.stop() == 0
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await watch.read()
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "shutting down" in (ended.value.details() or "")


@asynccontextmanager
async def starting(database: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, Proxy]]:
    """A gateway that waits for its database while it starts."""
    with tempfile.TemporaryDirectory() as home:
        async with proxy(socket_of(database)) as way:
            way.hold()
            where = {"RELAYPOST_DATABASE_URL": over_tcp(database, way.port), "RELAYPOST_DATA_DIR": home}
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "relaypost_server", "serve", "--json"),
                env=environment(where),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            yield process, way


async def test_a_signal_while_it_starts_ends_it_without_ever_serving(bundled_database: str) -> None:
    async with starting(bundled_database) as (process, way):
        await until(lambda: bool(way.connections), 120.0)
        process.send_signal(signal.SIGTERM)
        _, logged = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    events = logged.decode()
    assert '"event": "stopped"' in events
    assert '"event": "serving"' not in events
    assert "Traceback" not in events


async def test_a_signal_while_the_bundled_database_is_made_ends_it_too(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:3]:
        parent.chmod(0o755)
    home = tmp_path / "home"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "relaypost_server", "serve", "--json"),
        env=environment({"RELAYPOST_DATA_DIR": str(home)}),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    await until(home.exists, 120.0)
    process.send_signal(signal.SIGTERM)
    _, logged = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, logged.decode()
    assert '"event": "serving"' not in logged.decode()
