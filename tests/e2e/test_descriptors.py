"""What happens when file descriptors run out: nothing that lasts."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from relaypost import Address, AsyncClient, Attachment, RelaypostError, bulk_sms
from relaypost.v1 import message_pb2

from relaypost_server.assembly.descriptors import FEWEST, RESERVE, shares_within
from tests.e2e.gateway import AWS_KEYS, Gateway, gateway
from tests.fakes.http import answer, fake_http
from tests.providers.configured import SECRETS, TWILIO
from tests.signing import PUBLIC_URL, TOPIC, TOPIC_HEADER, SendGridKey, SnsTopic, twilio_callback

PATHS = ("/health/live", "/health/ready", "/health/messaging", "/metrics", "/elsewhere")
FEW = ["bash", "-c", 'ulimit -n 256; exec "$@"', "bash"]


async def reading_lines(path: Path) -> list[str]:
    return (await asyncio.to_thread(path.read_text)).splitlines()


async def sent(client: AsyncClient, number: int = 0) -> message_pb2.Message:
    return await client.send_sms(to=f"+1415555012{number}", text="Hi", timeout=10.0)


@asynccontextmanager
async def idle(address: str, count: int) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """Connections that send nothing; some may be refused."""
    host, _, port = address.rpartition(":")
    held: list[asyncio.StreamWriter] = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            held.append((await asyncio.open_connection(host, int(port)))[1])
    try:
        yield held
    finally:
        for writer in held:
            writer.close()


async def until_served(running: Gateway, client: AsyncClient) -> None:
    """Returns once both sides answer."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(RelaypostError, aiohttp.ClientError):
                await sent(client)
                if (await running.get("/health/live"))[0] == 200:
                    return
            await asyncio.sleep(0.1)


async def test_a_moment_without_descriptors_leaves_no_lock_held(bundled_database: str) -> None:
    """It comes before the first phone number, whose country's numbering plan is not read yet."""
    async with gateway(database=bundled_database) as running, AsyncClient(running.grpc) as client:
        await client.provider_health()
        process = running.process.pid
        before = resource.prlimit(process, resource.RLIMIT_NOFILE)
        resource.prlimit(process, resource.RLIMIT_NOFILE, (3, before[1]))
        for number in range(3):
            with contextlib.suppress(RelaypostError):
                await sent(client, number)
        resource.prlimit(process, resource.RLIMIT_NOFILE, before)
        async with asyncio.timeout(30):
            assert (await sent(client)).state == message_pb2.MESSAGE_STATE_SENT
            await client.send_sms(to="+4915112345678", text="Hi")
            assert (await client.send_email(to="ada@example.com", subject="Hi", text="Hi")).message_id
        assert (await running.get("/health/live"))[0] == 200
        assert await running.stop() == 0


async def test_idle_connections_take_neither_side_s_last_descriptor(bundled_database: str) -> None:
    async with gateway(database=bundled_database, within=FEW) as running:
        [warned] = running.events("few file descriptors: fewer connections are let in")
        assert warned["limit"] == 256
        assert warned["grpc_connections"] + warned["http_connections"] <= 256 - RESERVE + 2 * FEWEST
        async with idle(running.grpc, 400), idle(running.http, 400), AsyncClient(running.grpc) as client:
            await until_served(running, client)
        async with AsyncClient(running.grpc) as client:
            await until_served(running, client)
            await client.send_sms(to="+4915112345678", text="Hi")
        assert running.events("internal error") == []
        assert await running.stop() == 0


async def use_everything(running: Gateway, callbacks: SendGridKey, topic: SnsTopic, turn: int) -> None:
    """Each way of calling the gateway, with values that take the rare branches of parsers."""
    async with AsyncClient(running.grpc, caller=f"caller-{turn}") as client:
        people: list[str | Address] = ["ada@example.com", Address("b@exämple.com", "Bé")]
        picture = Attachment("é.png", b"x" * 300_000, "image/png")
        await client.send_email(to=people, subject="é", text="é", html="<p>é</p>", attachments=[picture])
        for number in ("+14155550123", "+4915112345678", "+3361234567" + str(turn), "+447400123456"):
            await client.send_sms(to=number, text="☃")
        with pytest.raises(RelaypostError):
            await client.send_sms(to="+99912345", text="Hi")
        await client.send_sms(to="+14155550123", text="Hi", request_id="key")
        words = {"code": "483920", "minutes": "5", "app": "Acme"}
        await client.send_sms(to="+14155550123", template="otp", variables=words, locale="de")
        otp = await client.send_otp(email=f"ada{turn}@example.com", purpose="sign_in", locale="ja")
        with pytest.raises(RelaypostError):
            await client.verify_otp(otp.otp_id, "000000")
        await client.enqueue_email(to="ada@example.com", subject="Hi", text="Hi")
        await client.send_bulk(f"batch-{turn}", [bulk_sms(to="+14155550123", text="Hi")])
        await client.add_suppression("x@example.com")
        await client.create_webhook_endpoint("https://example.com/hook")
        await client.provider_health()
        await client.cost_report()
        async for _ in client.list_messages(page_size=5):
            break
    for path in PATHS:
        await running.get(path)
    twilio = twilio_callback({"MessageSid": "SM1", "MessageStatus": "delivered"})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for path, body, headers in (
        ("/callbacks/sendgrid", b"[]", callbacks.headers(b"[]")),
        ("/callbacks/ses", topic.notification({}), TOPIC_HEADER),
        (twilio.path, twilio.body, {**twilio.headers, **form}),
    ):
        url = f"http://{running.http}{path}"
        async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answered:
            assert answered.status < 500


async def test_nothing_is_loaded_while_messages_are_sent(bundled_database: str, tmp_path: Path) -> None:
    """No call opens a file or imports a module, where it could fail and leave something half done."""
    log, mark, key = tmp_path / "log", tmp_path / "mark", SendGridKey()
    accepted = answer(200, b'{"MessageId": "1", "sid": "SM1", "status": "queued"}')
    async with fake_http(accepted) as vendor, fake_http(answer(500)) as broken, fake_http() as sns:
        topic = SnsTopic(base=sns.url)
        page = topic.pages[topic.certificate_url]
        sns.reply = lambda _request: answer(200, page)
        environ = {
            **SECRETS,
            **TWILIO,
            **AWS_KEYS,
            "AUDIT_LOG": str(log),
            "AUDIT_MARK": str(mark),
            "RELAYPOST_LOG_LEVEL": "DEBUG",
            "RELAYPOST_SES_ENDPOINT": broken.url,
            "RELAYPOST_SENDGRID_ENDPOINT": vendor.url,
            "RELAYPOST_SNS_ENDPOINT": broken.url,
            "RELAYPOST_TWILIO_ENDPOINT": vendor.url,
            "RELAYPOST_SENDGRID_WEBHOOK_KEY": key.public,
            "RELAYPOST_PUBLIC_URL": PUBLIC_URL,
            "RELAYPOST_SES_TOPIC_ARN": TOPIC,
            "RELAYPOST_SES_TOPIC_ENDPOINT": sns.url,
        }
        async with gateway(environ, database=bundled_database, module="tests.e2e.audited") as running:
            async with asyncio.timeout(30):
                while not running.events("preloaded"):
                    await asyncio.sleep(0.05)
            await asyncio.to_thread(mark.touch)
            for turn in range(2):
                await use_everything(running, key, topic, turn)
            assert await reading_lines(log) == []


def test_connections_share_what_the_pools_leave() -> None:
    roomy = shares_within(65_536, grpc=1000, http=500, pools=400)
    assert (roomy.grpc, roomy.http) == (1000, 500)
    assert roomy.needed <= 65_536
    tight = shares_within(1024, grpc=1000, http=500, pools=400)
    assert tight.grpc + tight.http + 400 + RESERVE <= 1024 < tight.needed
    assert tight.grpc > tight.http > FEWEST
    tiny = shares_within(64, grpc=1000, http=500, pools=400)
    assert (tiny.grpc, tiny.http) == (FEWEST, FEWEST)
    assert shares_within(64, grpc=4, http=4, pools=400).grpc == 4
