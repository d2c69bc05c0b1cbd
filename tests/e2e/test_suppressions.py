"""The suppression list on real processes: from a provider's word to the next send, over two replicas."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from relaypost import AsyncClient, RelaypostError, SendFailedError
from relaypost.v1 import message_pb2
from twilio.request_validator import RequestValidator

from tests.databases import over_tcp, socket_of
from tests.e2e.gateway import AWS_KEYS, Gateway, gateway, on_record
from tests.fakes.http import FakeHttp, answer, closed_port, fake_http
from tests.fakes.proxy import proxy
from tests.providers import vendor_events as vendor
from tests.providers.configured import SECRETS, TWILIO
from tests.signing import SendGridKey

ADA = "ada@example.com"
REFRESH = {"RELAYPOST_SUPPRESSION_REFRESH_SECONDS": "0.2"}
ACCEPTED = answer(202, X_Message_Id="14c5d75ce93")


def sendgrid(fake: FakeHttp, key: SendGridKey) -> dict[str, str]:
    return {
        "SENDGRID_API_KEY": SECRETS["SENDGRID_API_KEY"],
        "RELAYPOST_SENDGRID_ENDPOINT": fake.url,
        "RELAYPOST_SENDGRID_WEBHOOK_KEY": key.public,
    }


async def report(running: Gateway, key: SendGridKey, *events: Mapping[str, Any]) -> None:
    body = json.dumps(events).encode()
    url = f"http://{running.http}/callbacks/sendgrid"
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=key.headers(body)) as answered:
        assert answered.status == 200


async def until(send: Callable[[], Awaitable[Any]], *, suppressed: bool) -> SendFailedError | None:
    """The refusal of the list, or None, once the replica knows that it is so."""
    async with asyncio.timeout(20):
        while True:
            found = None
            try:
                await send()
            except SendFailedError as error:
                if error.reason != "SUPPRESSED":
                    raise
                found = error
            if (found is not None) is suppressed:
                return found
            await asyncio.sleep(0.05)


async def refused(client: AsyncClient, **fields: Any) -> SendFailedError:
    """The refusal, once this replica knows of the suppression."""
    email: dict[str, Any] = {"to": ADA, "subject": "Hi", "text": "Hi"} | fields
    found = await until(lambda: client.send_email(**email), suppressed=True)
    assert found is not None
    return found


async def test_after_a_bounce_no_replica_asks_a_provider(bundled_database: str, tmp_path: Path) -> None:
    key = SendGridKey()
    async with fake_http(ACCEPTED) as fake:
        environ = sendgrid(fake, key) | REFRESH
        async with (
            gateway(environ, database=bundled_database, data_dir=tmp_path / "a") as one,
            gateway(environ, database=bundled_database, data_dir=tmp_path / "b") as other,
            AsyncClient(one.grpc, caller="signup") as client,
            AsyncClient(other.grpc, caller="signup") as there,
            AsyncClient(other.grpc, caller="billing") as billing,
        ):
            sent = await client.send_email(to=ADA, subject="Hi", text="Hi")
            await on_record(client, sent.message_id)
            await report(one, key, vendor.sendgrid("bounce", message_id=sent.message_id, type="bounce"))
            for replica in (client, there):
                await refused(replica)
            calls = len(fake.received)

            once = await refused(client, request_id="once")
            [attempt] = once.attempts
            assert (attempt.provider, attempt.provider_code) == ("suppression_list", "SUPPRESSED")
            again = await refused(there, request_id="once")
            assert again.message_id == once.message_id
            [logged] = (await client.get_message(once.message_id)).attempts
            assert (logged.provider, logged.start_time) == (attempt.provider, attempt.start_time)
            with pytest.raises(SendFailedError):
                await there.send_otp(email=ADA, purpose="sign_in")
            [entry] = [s async for s in client.list_suppressions()]
            assert (entry.address, entry.provider, entry.message_id) == (ADA, "sendgrid", sent.message_id)
            assert len(fake.received) == calls

            partly = await client.send_email(to=[ADA, "b@example.com"], subject="Hi", text="Hi")
            assert [r.address for r in partly.attempts[0].refused_recipients] == [ADA]
            assert ADA not in fake.received[-1].body.decode()
            await billing.send_email(to=ADA, subject="Hi", text="Hi")

            assert await client.remove_suppression(ADA)
            await until(lambda: there.send_email(to=ADA, subject="Hi", text="Hi"), suppressed=False)
            assert (await refused(there, request_id="once")).message_id == once.message_id
            metrics = (await one.get("/metrics"))[1]
            assert 'relaypost_suppressed_total{channel="email",reason="bounced"}' in metrics
        assert ADA not in "".join(one.raw + other.raw)


async def test_a_number_that_said_stop_to_one_provider_gets_nothing_from_another(
    bundled_database: str, tmp_path: Path
) -> None:
    stopped = json.dumps({"code": 21610, "message": "Attempt to send to unsubscribed recipient", "status": 400})
    async with fake_http(answer(400, stopped.encode())) as twilio, fake_http() as sns:
        second = {**AWS_KEYS, "RELAYPOST_SNS_ENDPOINT": sns.url, "RELAYPOST_SNS_PRIORITY": "2"}
        first = {**TWILIO, "RELAYPOST_TWILIO_ENDPOINT": twilio.url, "RELAYPOST_TWILIO_PRIORITY": "1"}
        async with (
            gateway(first, second, database=bundled_database, data_dir=tmp_path) as running,
            AsyncClient(running.grpc) as client,
        ):
            reasons = []
            for _ in range(3):
                with pytest.raises(SendFailedError) as caught:
                    await client.send_sms(to="+14155550123", text="Hi")
                reasons.append(caught.value.reason)
            assert reasons == ["MESSAGE_REJECTED", "SUPPRESSED", "SUPPRESSED"]
            await running.stop()
        assert (len(twilio.received), len(sns.received)) == (1, 0)
        async with (
            gateway(second, database=bundled_database, data_dir=tmp_path) as next_one,
            AsyncClient(next_one.grpc) as client,
        ):
            with pytest.raises(SendFailedError) as caught:
                await client.send_sms(to="+14155550123", text="Hi")
            assert caught.value.reason == "SUPPRESSED"
        assert len(sns.received) == 0


async def test_stop_keeps_messages_away_and_start_lets_them_come(bundled_database: str, tmp_path: Path) -> None:
    async with fake_http(answer(201, b'{"sid": "SM1"}')) as fake:
        public = "https://post.example.com"
        environ = {**TWILIO, "RELAYPOST_TWILIO_ENDPOINT": fake.url, "RELAYPOST_PUBLIC_URL": public}
        async with (
            gateway(environ, REFRESH, database=bundled_database, data_dir=tmp_path) as running,
            AsyncClient(running.grpc, caller="signup") as client,
        ):

            async def write(text: str, sid: str) -> str:
                form = {"SmsStatus": "received", "From": "+14155550123", "Body": text, "MessageSid": sid}
                signature = RequestValidator(TWILIO["TWILIO_AUTH_TOKEN"]).compute_signature(
                    public + "/callbacks/twilio", form
                )
                url, headers = f"http://{running.http}/callbacks/twilio", {"X-Twilio-Signature": signature}
                async with aiohttp.ClientSession() as session, session.post(url, data=form, headers=headers) as told:
                    assert told.status == 200
                    return await told.text()

            sent = await client.send_sms(to="+14155550123", text="Hi")
            await on_record(client, sent.message_id)
            assert await write("Stop", "SM2") == "<Response/>"
            await until(lambda: client.send_sms(to="+14155550123", text="Hi"), suppressed=True)
            calls = len(fake.received)
            with pytest.raises(SendFailedError):
                await client.send_sms(to="+14155550123", text="Hi")
            assert len(fake.received) == calls
            await write("START", "SM3")
            await until(lambda: client.send_sms(to="+14155550123", text="Hi"), suppressed=False)
            assert len(fake.received) == calls + 1
            await write("Stop", "SM4")
            await until(lambda: client.send_sms(to="+14155550123", text="Hi"), suppressed=True)
            await write("START", "SM3")  # The old one, once more: its signature holds for ever.
            [entry] = [s async for s in client.list_suppressions()]
            assert entry.address == "+14155550123"
        assert "4155550123" not in "".join(running.raw)


async def test_while_the_database_is_away_sends_go_on_and_the_list_holds(bundled_database: str, tmp_path: Path) -> None:
    async with proxy(socket_of(bundled_database)) as way, fake_http(ACCEPTED) as fake:
        environ = sendgrid(fake, SendGridKey()) | REFRESH
        async with (
            gateway(environ, database=over_tcp(bundled_database, way.port), data_dir=tmp_path) as running,
            AsyncClient(running.grpc) as client,
        ):
            await client.add_suppression(ADA)
            way.cut()
            with pytest.raises(RelaypostError) as caught:
                await client.remove_suppression(ADA)
            assert caught.value.reason == "MESSAGE_LOG_UNAVAILABLE"
            await asyncio.sleep(0.5)
            with pytest.raises(SendFailedError) as refusal:
                await client.send_email(to=ADA, subject="Hi", text="Hi")
            assert refusal.value.reason == "SUPPRESSED"
            await client.send_email(to="b@example.com", subject="Hi", text="Hi")
            assert len(fake.received) == 1
            way.mend()
            on_list = await on_record(client, refusal.value.message_id)
            assert on_list.state == message_pb2.MESSAGE_STATE_REJECTED


async def test_a_gateway_that_never_saw_the_list_sends(tmp_path: Path) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{closed_port()}/none"
    async with fake_http(ACCEPTED) as fake:
        async with (
            gateway(sendgrid(fake, SendGridKey()), database=nowhere, data_dir=tmp_path) as running,
            AsyncClient(running.grpc) as client,
        ):
            await client.send_email(to=ADA, subject="Hi", text="Hi")
            assert running.events("suppression list not known yet: nobody is suppressed until the database answers")
        assert len(fake.received) == 1
