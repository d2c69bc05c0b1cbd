"""`relaypost webhook` against a gateway over a real socket, on a real PostgreSQL."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from relaypost_server.api.webhooks import WebhookServicer
from relaypost_server.cli import main
from relaypost_server.core.message import MessageState
from relaypost_server.core.webhook_retry import Answer, settle
from relaypost_server.core.webhook_targets import TargetPolicy
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.webhook_endpoints import WebhookEndpoints
from relaypost_server.store.messages import PostgresLog
from relaypost_server.store.webhooks import PostgresWebhooks
from tests.api.conftest import Serve, serve
from tests.store.databases import opened
from tests.store.records import record

__all__ = ["serve"]
URL = "https://example.com/hook"


@dataclass
class Shell:
    """Runs the command beside the gateway that it talks to."""

    target: str
    store: PostgresWebhooks
    log: PostgresLog

    async def __call__(self, *arguments: str) -> Result:
        command = ["webhook", *arguments, "--caller", "signup", "--target", self.target]
        return await asyncio.to_thread(CliRunner(env={"COLUMNS": "200"}).invoke, main, command)

    async def good(self, *arguments: str) -> str:
        result = await self(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    async def json(self, *arguments: str) -> Any:
        return json.loads(await self.good(*arguments, "--json"))

    async def fail(self, answer: Answer) -> None:
        """Sends a message whose delivery ends so."""
        await self.log.append(record(caller="signup", state=MessageState.SENT))
        [claimed] = await self.store.claim(busy={}, each=1, most=1, lease=60.0)
        await self.store.settle([settle(claimed, answer, (), 0.5)])


@pytest.fixture
async def shell(serve: Serve, bundled_database: str, tmp_path: Path) -> AsyncIterator[Shell]:
    async with opened(bundled_database, tmp_path) as database:
        store = PostgresWebhooks(database)
        endpoints = WebhookEndpoints(store, grace=3600.0, clock=Clock())
        served = await serve(webhooks=WebhookServicer(endpoints, TargetPolicy()))
        yield Shell(served.target, store, PostgresLog(database))


async def test_an_endpoint_comes_and_goes(shell: Shell) -> None:
    endpoint_id, secret = (await shell.good("create", URL, "--description", "[bold]")).split()
    assert secret.startswith("whsec_")
    made = await shell.json("create", URL, "--event", "message.bounced", "--event", "message.failed")
    assert made["endpoint"]["eventTypes"] == ["message.bounced", "message.failed"]
    listed = await shell.good("list")
    assert endpoint_id in listed
    assert "[bold]" in listed
    assert "whsec_" not in listed
    assert len((await shell.json("list"))["endpoints"]) == 2
    assert await shell.good("delete", endpoint_id) == "deleted\n"
    assert await shell.json("delete", made["endpoint"]["endpointId"]) == {}
    assert (await shell.json("list"))["endpoints"] == []


async def test_a_secret_is_rotated(shell: Shell) -> None:
    endpoint_id, secret = (await shell.good("create", URL)).split()
    shown = await shell.good("rotate", endpoint_id)
    assert shown.startswith("whsec_")
    assert "the old one signs until" in shown
    assert secret not in shown
    assert (await shell.json("rotate", endpoint_id, "--grace", "0"))["secret"] not in shown


async def test_a_dead_letter_is_shown_and_sent_again(shell: Shell) -> None:
    await shell.good("create", URL)
    await shell.fail(Answer(status=500, detail="HTTP 500"))
    shown = await shell.good("deliveries", "--state", "dead")
    assert shown.split()[-6:][1:] == ["sent", "dead", "1", "HTTP", "500"]
    [dead] = (await shell.json("deliveries", "--limit", "1"))["deliveries"]
    assert await shell.good("redeliver", dead["deliveryId"]) == f"{dead['deliveryId']}  pending\n"
    again = await shell.json("redeliver", dead["deliveryId"])
    assert again["state"] == "WEBHOOK_DELIVERY_STATE_PENDING"


async def test_an_endpoint_that_is_gone_is_enabled(shell: Shell) -> None:
    endpoint_id, _ = (await shell.good("create", URL)).split()
    await shell.fail(Answer(status=410, detail="HTTP 410"))
    assert "gone since" in await shell.good("list")
    assert await shell.good("enable", endpoint_id) == "enabled\n"
    assert "in use" in await shell.good("list")
    assert "disableTime" not in await shell.json("enable", endpoint_id)


async def test_mistakes_end_it_with_2_and_what_is_not_there_with_1(shell: Shell) -> None:
    result = await shell("create", "http://example.com")
    assert (result.exit_code, result.stderr) == (2, "url must begin with https://\n")
    result = await shell("delete", "01981f00-0000-7000-8000-000000000001")
    assert (result.exit_code, result.stderr[:18]) == (1, "WEBHOOK_NOT_FOUND:")
