"""The gateway as a process: starting, stopping, dying, and doing without its database."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest
from relaypost import AsyncClient, RelaypostError
from relaypost.v1 import message_pb2

from relaypost_server.store.embedded import running_url
from tests.e2e.gateway import AWS_KEYS, environment, gateway, on_record
from tests.fakes.http import HANG, answer, closed_port, fake_http
from tests.peers import open_up

SENT = message_pb2.MESSAGE_STATE_SENT


async def test_without_any_setting_messages_are_printed_and_logged(tmp_path: Path) -> None:
    async with gateway(data_dir=open_up(tmp_path)) as running, AsyncClient(running.grpc) as client:
        email = await client.send_email(to="ada@example.com", subject="Hi", text="Your code is 482915")
        sms = await client.send_sms(to="+14155550123", text="Your code is 482915")
        assert (email.provider, sms.provider) == ("console", "console")
        assert await on_record(client, email.message_id) == email
        assert await running.stop(signal.SIGINT) == 0
    printed = "".join(running.printed)
    assert "Hi" in printed
    assert "482915" not in printed


async def test_what_was_sent_survives_a_kill_and_a_restart(tmp_path: Path) -> None:
    home = open_up(tmp_path)
    async with gateway(data_dir=home) as running, AsyncClient(running.grpc) as client:
        message = await client.send_email(to="ada@example.com", subject="Hi", text="Hi")
        await running.stop(signal.SIGKILL)
    async with asyncio.timeout(10):
        while running_url(home) is not None:
            await asyncio.sleep(0.05)
    async with gateway(data_dir=home) as running, AsyncClient(running.grpc) as client:
        assert await on_record(client, message.message_id) == message


async def test_without_its_database_the_gateway_sends_and_the_next_one_writes_the_log(
    bundled_database: str, tmp_path: Path
) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{closed_port()}/none"
    async with gateway(database=nowhere, data_dir=tmp_path) as running, AsyncClient(running.grpc) as client:
        message = await client.send_email(to="ada@example.com", subject="Hi", text="Hi")
        assert message.state == SENT
        with pytest.raises(RelaypostError) as caught:
            await client.get_message(message.message_id)
        assert caught.value.reason == "MESSAGE_LOG_UNAVAILABLE"
        with pytest.raises(RelaypostError) as caught:
            await client.send_email(to="ada@example.com", subject="Hi", text="Hi", request_id="once")
        assert caught.value.reason == "IDEMPOTENCY_UNAVAILABLE"
        health = (await client.provider_health()).message_log
        assert (health.available, health.waiting, health.takes_request_ids) == (False, 1, False)
        assert health.spool_bytes > 0
        assert (await running.get("/health/ready"))[0] == 200
        assert await running.stop() == 0
    assert not running.events("messages left out of the log")
    async with gateway(database=bundled_database, data_dir=tmp_path) as running, AsyncClient(running.grpc) as client:
        assert await on_record(client, message.message_id) == message


async def test_a_call_in_flight_ends_well_when_the_gateway_is_told_to_stop(bundled_database: str) -> None:
    async with fake_http(HANG) as ses:
        release = asyncio.Event()
        environ = {**AWS_KEYS, "RELAYPOST_SES_ENDPOINT": ses.url, "RELAYPOST_SES_TIMEOUT_SECONDS": "3"}
        async with gateway(environ, database=bundled_database) as running, AsyncClient(running.grpc) as client:
            sending = asyncio.create_task(
                client.send_email(to="ada@example.com", subject="Hi", text="Hi", at_most_once=True)
            )
            async with asyncio.timeout(10):
                while not ses.received:
                    await asyncio.sleep(0.01)
            stopping = asyncio.create_task(running.stop())
            message = await sending
            assert message.state == message_pb2.MESSAGE_STATE_UNCONFIRMED
            assert await stopping == 0
        release.set()
    async with gateway(database=bundled_database) as running, AsyncClient(running.grpc) as client:
        assert (await on_record(client, message.message_id)).state == message_pb2.MESSAGE_STATE_UNCONFIRMED


async def test_it_goes_on_serving_while_load_balancers_look_elsewhere(bundled_database: str) -> None:
    delay = {"RELAYPOST_SHUTDOWN_DELAY_SECONDS": "1"}
    async with gateway(delay, database=bundled_database) as running, AsyncClient(running.grpc) as client:
        stopping = asyncio.create_task(running.stop())
        async with asyncio.timeout(5):
            while (await running.get("/health/ready"))[0] != 503:
                await asyncio.sleep(0.02)
        assert (await running.get("/health/live"))[0] == 200
        assert (await client.send_email(to="ada@example.com", subject="Hi", text="Hi")).state == SENT
        assert await stopping == 0


async def test_without_a_collector_nothing_changes(bundled_database: str) -> None:
    environ = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{closed_port()}"}
    async with gateway(environ, database=bundled_database) as running, AsyncClient(running.grpc) as client:
        for _ in range(20):
            assert (await client.send_email(to="ada@example.com", subject="Hi", text="Hi")).state == SENT
        assert await running.stop() == 0
    assert sum("export" in line for line in running.raw) < 10


async def run(*arguments: str, **environ: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "relaypost_server",
        *arguments,
        env=environment(environ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), err.decode()


async def test_mistakes_in_the_settings_end_it_before_it_begins() -> None:
    code, _, err = await run("serve", RELAYPOST_SES_PRIORITY="first", SMTP_PORT="0", RELAYPOST_ENV="production")
    assert code == 2
    assert "RELAYPOST_SES_PRIORITY" in err
    assert "SMTP_PORT" in err
    assert "Traceback" not in err


async def test_an_address_that_is_taken_is_named(bundled_database: str) -> None:
    async with gateway(database=bundled_database) as running:
        for setting, taken in (("GRPC", running.grpc), ("HTTP", running.http)):
            environ = {f"RELAYPOST_{setting}_ADDRESS": taken, "RELAYPOST_DATABASE_URL": bundled_database}
            code, _, err = await run("serve", **environ)
            assert code == 1
            assert taken.rpartition(":")[2] in err
            assert "Traceback" not in err


async def test_logs_are_json_with_the_trace_of_the_call(bundled_database: str) -> None:
    async with fake_http(answer(503, b"{}", x_amzn_errortype="ServiceUnavailableException")) as ses:
        environ = {**AWS_KEYS, "RELAYPOST_SES_ENDPOINT": ses.url, "RELAYPOST_CONSOLE_BESIDE_REAL": "true"}
        async with gateway(environ, database=bundled_database) as running, AsyncClient(running.grpc) as client:
            await client.send_email(to="ada@example.com", subject="Hi", text="Hi")
            await running.stop()
    assert all(json.loads(line) for line in running.raw)
    (event,) = running.events("message sent")
    assert event["attempts"] == ["ses faulted", "console accepted"]
    assert len(event["trace_id"]) == 32
