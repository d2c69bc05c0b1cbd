"""The Python client against the real gateway, and as a package of its own."""

import asyncio
import json
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from relaypost import (
    Address,
    AsyncClient,
    Attachment,
    Client,
    InvalidRequestError,
    OtpLimitError,
    OtpNotVerifiedError,
    RelaypostError,
    SendFailedError,
    bulk_email,
)
from relaypost.v1 import message_pb2

from tests.e2e.gateway import AWS_KEYS, Gateway, gateway, on_record
from tests.e2e.test_process import run
from tests.fakes.http import closed_port, fake_http
from tests.peers import ROOT


@pytest.fixture
async def running(bundled_database: str) -> AsyncIterator[Gateway]:
    async with gateway(database=bundled_database) as started:
        yield started


def use_every_argument(client: Client) -> message_pb2.Message:
    return client.send_email(
        to=["ada@example.com", Address("grace@example.com", "Grace")],
        subject="Hi",
        text="Hi",
        html="<p>Hi</p>",
        sender=Address("noreply@example.com", "Example"),
        cc="b@example.com",
        bcc=Address("c@example.com"),
        reply_to=["d@example.com"],
        attachments=[Attachment("a.txt", b"x", "text/plain")],
        headers={"X-A": "1"},
        tags={"purpose": "test"},
        envelope_sender="bounces@example.com",
        tracking=False,
        metadata={"order": "7"},
        at_most_once=True,
        timeout=10.0,
    )


async def test_the_client_for_threads(running: Gateway) -> None:
    def use() -> None:
        with Client(running.grpc) as client:
            message = use_every_argument(client)
            assert list(message.recipients) == [f"{n}@example.com" for n in ("ada", "grace", "b", "c")]
            (listed,) = client.list_messages(recipient="grace@example.com", page_size=1)
            assert listed == message == client.get_message(message.message_id)
            sms = client.send_sms(to="415-555-0123", region_code="US", text="Hi", max_price_micros=1_000_000)
            assert sms.state == message_pb2.MESSAGE_STATE_SENT
            assert client.provider_health().message_log.available
            with pytest.raises(InvalidRequestError) as caught:
                client.send_sms(to="nobody", text="")
            assert [v.field for v in caught.value.violations] == ["sms.to", "sms.text"]

    await asyncio.to_thread(use)


async def test_messages_are_found_by_request_label_and_the_providers_id(running: Gateway) -> None:
    """By any caller and method: an email, a text message, a queued email, a code, and a batch."""
    name = "order-7"
    async with AsyncClient(running.grpc, caller="shop") as shop, AsyncClient(running.grpc, caller="signup") as signup:
        email = await shop.send_email(
            to="ada@example.com",
            subject="Hi",
            text="Hi",
            tags={"purpose": "receipt"},
            metadata={"order": "7"},
            request_id=name,
        )
        sms = await signup.send_sms(to="+14155550123", text="Hi", metadata={"order": "7", "step": "2"}, request_id=name)
        queued = await shop.enqueue_email(to="b@example.com", subject="Hi", text="Hi", request_id=name)
        code = (await signup.send_otp(email="c@example.com", purpose="sign_in", request_id=name)).message
        bulk = [bulk_email(to=f"user-{n}@example.com", subject="Hi", text="Hi") for n in range(5)]
        batch = await shop.send_bulk(name, bulk)
        await shop.send_email(to="d@example.com", subject="Hi", text="Hi", request_id="order-77")
        for sent in (email, sms, code):
            await on_record(shop, sent.message_id)

        async def found(**query: Any) -> list[str]:
            return [m.message_id async for m in shop.list_messages(**query)]

        named = await found(request_id=name, page_size=2)
        single = {m.message_id for m in (email, sms, queued, code)}
        assert batch.batch.size == 5
        assert len(named) == len(set(named)) == 9
        assert single < set(named)
        assert named == sorted(named, reverse=True)
        assert await found(request_id=name, channel=message_pb2.CHANNEL_SMS) == [sms.message_id]
        assert await found(request_id=name, recipient="b@example.com") == [queued.message_id]
        assert await found(request_id="order-") == []
        assert await found(metadata={"order": "7"}) == [sms.message_id, email.message_id]
        assert await found(metadata={"order": "7"}, tags={"purpose": "receipt"}) == [email.message_id]

        known = await shop.get_message(provider=email.provider, provider_message_id=email.provider_message_id)
        assert known.message_id == email.message_id
    code_, out, _ = await run(
        "get",
        "--provider",
        email.provider,
        "--provider-message-id",
        email.provider_message_id,
        "--target",
        running.grpc,
    )
    assert code_ == 0
    for part in (email.message_id, "ada@example.com", "purpose=receipt", "order=7"):
        assert part in out
    code_, out, _ = await run(
        "list",
        "--tag",
        "purpose=receipt",
        "--metadata",
        "order=7",
        "--request-id",
        "order-7",
        "--json",
        "--target",
        running.grpc,
    )
    assert (code_, [m["messageId"] for m in json.loads(out)["messages"]]) == (0, [email.message_id])
    code_, _, err = await run("get", "--provider", "ses", "--target", running.grpc)
    assert code_ == 2
    assert "provider_message_id" in err


async def test_codes_for_threads(running: Gateway) -> None:
    def use() -> None:
        with Client(running.grpc, caller="signup") as client:
            sent = client.send_otp(phone="415-555-0123", region_code="US", purpose="sign_in", ttl=60.0)
            assert sent.message.recipients == ["+14155550123"]
            with pytest.raises(OtpNotVerifiedError) as wrong:
                client.verify_otp(sent.otp_id, "wrong")
            assert wrong.value.reason == "OTP_NOT_VERIFIED"
            with pytest.raises(OtpLimitError) as early:
                client.resend_otp(sent.otp_id)
            assert early.value.limits == ["resend"]
            assert 0 < (early.value.retry_after or 0) <= 30
            client.cancel_otp(sent.otp_id)
            with pytest.raises(RelaypostError, match="no living code"):
                client.resend_otp(sent.otp_id)
            with pytest.raises(ValueError, match="not to both"):
                client.send_otp(phone="+14155550123", email="ada@example.com", purpose="sign_in")
            values = {"code": "483920", "minutes": "5", "app": "Acme"}
            client.send_sms(to="+14155550123", template="otp", variables=values, locale="de")

    await asyncio.to_thread(use)


async def test_the_client_for_asyncio(running: Gateway) -> None:
    async with AsyncClient(running.grpc) as client:
        message = await client.send_email(to="ada@example.com", subject="Hi", text="Hi")
        assert await on_record(client, message.message_id) == message
        assert (await client.provider_health()).channels
        with pytest.raises(InvalidRequestError):
            await client.send_email(to=[], subject="", text="")


async def test_a_failed_send_tells_what_was_tried(bundled_database: str) -> None:
    async with fake_http() as nobody:
        environ = {**AWS_KEYS, "RELAYPOST_SES_ENDPOINT": f"http://127.0.0.1:{closed_port()}"}
        async with gateway(environ, database=bundled_database) as running, AsyncClient(running.grpc) as client:
            with pytest.raises(SendFailedError) as caught:
                await client.send_email(to="ada@example.com", subject="Hi", text="Hi")
    error = caught.value
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "PROVIDERS_EXHAUSTED")
    assert error.retry_after == 1.0
    assert {a.provider for a in error.attempts} == {"ses"}
    assert nobody.received == []


def test_a_gateway_that_is_not_there() -> None:
    with Client(f"127.0.0.1:{closed_port()}") as client, pytest.raises(RelaypostError) as caught:
        client.send_sms(to="+14155550123", text="Hi", timeout=2.0)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert caught.value.reason == ""
    assert caught.value.retry_after is None


USER = """
from relaypost import AsyncClient, Client, SendFailedError
from relaypost.v1 import message_pb2

def send(client: Client) -> str:
    try:
        message = client.send_email(to="ada@example.com", subject="Hi", text="Hi")
    except SendFailedError as error:
        return ", ".join(attempt.provider for attempt in error.attempts)
    assert message.state == message_pb2.MESSAGE_STATE_SENT
    return message.provider

async def send_later(client: AsyncClient) -> str:
    return (await client.send_sms(to="+14155550123", text="Hi")).provider
"""
MISUSER = """
from relaypost import AsyncClient, Client, bulk_email
def send(client: Client) -> int:
    bulk_email(to="ada@example.com", requestid="1")
    return client.send_email(to="ada@example.com", subjekt="Hi").provider
async def enqueue(client: AsyncClient) -> None:
    await client.enqueue_sms(to="+14155550123", at_most_onc=True)
"""


def test_strict_mypy_knows_the_client(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "misuser.py").write_text(MISUSER)

    def mypy(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", str(tmp_path / name)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    good = mypy("user.py")
    assert good.returncode == 0, good.stdout
    bad = mypy("misuser.py")
    for mistake in ("subjekt", "requestid", "at_most_onc"):
        assert mistake in bad.stdout
    assert "Incompatible return value" in bad.stdout


def test_the_package_can_be_built_by_itself(tmp_path: Path) -> None:
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)],
        cwd=ROOT / "clients" / "python",
        capture_output=True,
        text=True,
        check=True,
    )
    names = zipfile.ZipFile(tmp_path / done.stdout.strip()).namelist()
    assert {"relaypost/py.typed", "relaypost/v1/messaging_service_pb2.pyi", "relaypost/__init__.py"} <= set(names)
    assert not any("server" in name for name in names)
