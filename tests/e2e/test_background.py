"""The background tasks of a whole gateway: each goes on after failures, and health shows them meanwhile."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from click.testing import CliRunner
from relaypost import AsyncClient
from relaypost.v1 import gateway_health_pb2
from structlog.testing import capture_logs

from relaypost_server import app
from relaypost_server.cli import main
from relaypost_server.config import load
from relaypost_server.core.background import Task
from relaypost_server.flow.background import RunningTask
from tests.e2e.gateway import environment
from tests.fakes.http import closed_port
from tests.faults.providers import providers

EXPECTED = {
    *("recovery", "receipt_matching", "suppression_refresh", "opt_outs_sns", "prices_twilio", "status_query_twilio"),
    *("otp_maintenance", "webhook_delivery", "webhook_maintenance", "delivery_counts", "confirmations", "budgets"),
    *("hints_publish", "hints_listen", "due_relay", "queue_sweep", "queue_heartbeat", "queue_acknowledgements"),
    *("lane_otp", "lane_transactional", "lane_bulk", "message_watch", "grpc_health", "batch_writer", "spool"),
}
FOREIGN: tuple[Callable[[], BaseException], ...] = (
    lambda: IndexError("list index out of range"),
    lambda: asyncpg.InternalClientError("unexpected protocol state"),
    asyncio.CancelledError,
)


@dataclass
class Trouble:
    """Makes every round of every task of a gateway raise, until it is over."""

    gateway: app.Gateway
    over: bool = False
    raised: dict[str, int] = field(default_factory=dict)
    at_work: set[str] = field(default_factory=set)
    """Tasks of which a round has begun in earnest."""

    def __post_init__(self) -> None:
        self.gateway.tasks.shortest, self.gateway.tasks.longest = 0.02, 0.1
        start = self.gateway.tasks.start

        def start_in_trouble(task: Task) -> RunningTask:
            return start(replace(task, round=self._round_of(task), first=0.0, pause=min(task.pause, 0.01)))

        self.gateway.tasks.start = start_in_trouble  # type: ignore[method-assign]

    def _round_of(self, task: Task) -> Callable[[], "asyncio.Future[float | None]"]:
        errors = itertools.cycle(FOREIGN)

        async def round_() -> float | None:
            if not self.over:
                self.raised[task.name] = self.raised.get(task.name, 0) + 1
                error = next(errors)()
                raise error
            self.at_work.add(task.name)
            return await task.round()

        return round_  # type: ignore[return-value]


@pytest.fixture
async def environ(bundled_database: str, tmp_path: Path) -> AsyncIterator[Mapping[str, str]]:
    """With everything switched on that has a background task."""
    async with providers() as fakes:
        yield environment(
            fakes.environ(),
            {
                "RELAYPOST_DATABASE_URL": bundled_database,
                "RELAYPOST_DATA_DIR": str(tmp_path),
                "RELAYPOST_REDIS_URL": f"redis://127.0.0.1:{closed_port()}/0",
                "RELAYPOST_SNS_OPT_OUTS_SECONDS": "3600",
                "RELAYPOST_PUBLIC_URL": "https://relaypost.example",
            },
        )


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Tracebacks of hundreds of failures would take longer to print than all of the rest."""
    with capture_logs():
        yield


async def test_every_task_goes_on_after_foreign_failures_and_health_shows_them(environ: Mapping[str, str]) -> None:
    gateway = app.Gateway(load(environ))
    trouble = Trouble(gateway)
    endpoints = await gateway.start()
    try:
        names = {task.name for task in gateway.tasks.health()}
        assert names >= EXPECTED
        async with AsyncClient(endpoints.grpc) as client, asyncio.timeout(60):
            while any(count < 2 * len(FOREIGN) for count in trouble.raised.values()) or len(trouble.raised) < len(
                names
            ):
                await asyncio.sleep(0.01)
            found = await client.gateway_health()
            assert found.state == gateway_health_pb2.GATEWAY_STATE_DEGRADED
            assert {task.name for task in found.background_tasks} == names
            for task in found.background_tasks:
                assert (task.failing, task.consecutive_failures >= 3, len(task.last_incident_id)) == (True, True, 32)
                assert task.HasField("failing_since")
            status, readiness = await get(endpoints.http, "/health/ready")
            assert (status, readiness["status"], readiness["degraded"]) == (200, "ready", True)
            assert set(readiness["failingTasks"]) == names
            shown = await relaypost_health(endpoints.grpc)
            assert all(f"background task {name} failing since" in shown for name in names)

            trouble.over = True
            while (
                trouble.at_work != names
                or (await client.gateway_health()).state != gateway_health_pb2.GATEWAY_STATE_READY
            ):
                await asyncio.sleep(0.01)
            status, readiness = await get(endpoints.http, "/health/ready")
            assert (status, readiness["degraded"], readiness["failingTasks"]) == (200, False, [])
            assert "background task" not in await relaypost_health(endpoints.grpc)
    finally:
        async with asyncio.timeout(30):
            await gateway.stop(delay=0.0)


async def get(address: str, path: str) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}{path}") as answer:
        return answer.status, json.loads(await answer.text())


async def relaypost_health(target: str) -> str:
    """What the command draws, with its lines joined."""
    done = await asyncio.to_thread(CliRunner().invoke, main, ["health", "--target", target], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    return " ".join(done.output.split())
