"""Failover on silence through the real process: Twilio takes everything, and SNS is next."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import aiohttp
from relaypost import AsyncClient
from relaypost.v1 import message_pb2, messaging_service_pb2 as pb, provider_health_pb2

from tests.e2e.gateway import AWS_KEYS, Gateway, gateway, on_record
from tests.e2e.test_process import run
from tests.fakes.http import FakeHttp, fake_http
from tests.fakes.otp import code_of
from tests.faults.providers import TAKEN
from tests.providers.configured import TWILIO
from tests.signing import PUBLIC_URL, twilio_callback

WITHIN = 5.0
SILENT, DELIVERED, REUSED, FAILED, BAD, CODE, PROVEN, FORGOTTEN = (f"+1415555010{n}" for n in range(8))


@dataclass
class Peers:
    """Both providers, and how often each got a text for a number."""

    twilio: FakeHttp
    sns: FakeHttp

    def environ(self, **more: str) -> dict[str, str]:
        return {
            **AWS_KEYS,
            **TWILIO,
            "RELAYPOST_TWILIO_PRIORITY": "1",
            "RELAYPOST_SNS_PRIORITY": "2",
            "RELAYPOST_PUBLIC_URL": PUBLIC_URL,
            "RELAYPOST_TWILIO_ENDPOINT": self.twilio.url,
            "RELAYPOST_SNS_ENDPOINT": self.sns.url,
            **more,
        }

    def texts(self) -> dict[str, list[tuple[str, str]]]:
        """What each provider got, by number: the provider, and the text."""
        found: dict[str, list[tuple[str, str]]] = {}
        for name, fake, to, text in (
            ("twilio", self.twilio, "To", "Body"),
            ("sns", self.sns, "PhoneNumber", "Message"),
        ):
            for request in fake.received:
                form = parse_qs(request.body.decode())
                found.setdefault(form[to][0], []).append((name, form[text][0]))
        return found

    def counts(self) -> dict[str, dict[str, int]]:
        return {number: dict(Counter(name for name, _ in got)) for number, got in self.texts().items()}


@asynccontextmanager
async def peers() -> AsyncIterator[Peers]:
    async with fake_http(TAKEN["twilio"]) as twilio, fake_http(TAKEN["sns"]) as sns:
        yield Peers(twilio, sns)


async def report(running: Gateway, message_id: str, status: str, **more: str) -> None:
    made = twilio_callback({"MessageSid": f"SM{message_id}", "MessageStatus": status, **more}, message_id=message_id)
    headers = {**made.headers, "Content-Type": "application/x-www-form-urlencoded"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{running.http}{made.path}", data=made.body, headers=headers) as answered,
    ):
        assert answered.status == 200, await answered.text()


async def until(client: AsyncClient, message_id: str, attempts: int) -> message_pb2.Message:
    async with asyncio.timeout(20):
        while True:
            found = await on_record(client, message_id)
            taken = [a.kind == message_pb2.OUTCOME_KIND_ACCEPTED for a in found.attempts]
            if len(taken) == attempts and all(taken) and found.possible_duplicate:
                return found
            await asyncio.sleep(0.05)


async def send(client: AsyncClient, to: str, **fields: Any) -> pb.SendSmsResponse:
    request = pb.SendSmsRequest(**fields)
    request.sms.to, request.sms.text = to, f"For {to}"
    request.confirm_within.FromSeconds(int(WITHIN))
    return await client.stub.SendSms(request)


async def test_what_nobody_confirms_goes_out_once_more_and_nothing_else_does(bundled_database: str) -> None:
    """Not what a gateway knew that was killed, for another one has no text of it."""
    async with (
        peers() as world,
        gateway(world.environ(), database=bundled_database) as killed,
        gateway(world.environ(), database=bundled_database) as running,
        AsyncClient(running.grpc, caller="signup") as client,
    ):
        async with AsyncClient(killed.grpc) as dying:
            forgotten = (await send(dying, FORGOTTEN)).message.message_id
            await on_record(dying, forgotten)
        await killed.stop(signal.SIGKILL)
        names = {
            SILENT: await send(client, SILENT),
            DELIVERED: await send(client, DELIVERED),
            REUSED: await send(client, REUSED, request_id="once"),
            FAILED: await send(client, FAILED),
            BAD: await send(client, BAD),
        }
        plain = await client.send_sms(to="+14155550109", text="Without the wish")
        again = await send(client, REUSED, request_id="once")
        assert (again.replayed, again.HasField("confirm_until")) == (True, False)
        assert all(n.HasField("confirm_until") for n in names.values())
        code = await client.send_otp(phone=CODE, purpose="sign_in", confirm_within=WITHIN)
        proven = await client.send_otp(phone=PROVEN, purpose="sign_in", confirm_within=WITHIN)
        assert code.HasField("confirm_until")
        await client.verify_otp(proven.otp_id, code_of(world.texts()[PROVEN][0][1]))
        ids = {number: answer.message.message_id for number, answer in names.items()}
        await report(running, ids[DELIVERED], "delivered")
        await report(running, ids[FAILED], "undelivered", ErrorCode="30008")
        await report(running, ids[BAD], "undelivered", ErrorCode="30006")
        watching = asyncio.create_task(watched(client, ids[SILENT]))

        twice = {ids[SILENT]: SILENT, ids[REUSED]: REUSED, ids[FAILED]: FAILED, code.message.message_id: CODE}
        for message_id in twice:
            found = await until(client, message_id, 2)
            assert [a.provider for a in found.attempts] == ["twilio", "sns"]
            assert found.attempts[1].detail.startswith("sent again")
            assert (found.state, found.possible_duplicate) == (message_pb2.MESSAGE_STATE_SENT, True)
        await asyncio.sleep(1.5)
        once, both = {"twilio": 1}, {"twilio": 1, "sns": 1}
        assert world.counts() == {
            SILENT: both,
            DELIVERED: once,
            REUSED: both,
            FAILED: both,
            BAD: once,
            CODE: both,
            PROVEN: once,
            FORGOTTEN: once,
            "+14155550109": once,
        }
        assert len({text for _, text in world.texts()[CODE]}) == 1
        await client.verify_otp(code.otp_id, code_of(world.texts()[CODE][1][1]))
        await report(running, ids[SILENT], "delivered")
        async with asyncio.timeout(20):
            assert [len(m.attempts) for m in await watching][-1] == 2
        assert len((await on_record(client, forgotten)).attempts) == 1
        assert not plain.possible_duplicate
        assert (await on_record(client, plain.message_id)).attempts[0].provider == "twilio"
        assert counted((await running.get("/metrics"))[1]) == {"sent": 4, "confirmed": 2, "given_up": 1}
        await check_health(world, bundled_database)


async def check_health(world: Peers, database: str) -> None:
    """What arrived, as a gateway counts it that starts later."""
    environ = world.environ(RELAYPOST_DELIVERY_SETTLE_MINUTES="0")
    async with gateway(environ, database=database) as later, AsyncClient(later.grpc) as client:
        texts = await both_counted(client)
        [rate] = texts[0].delivery_rates
        found = (rate.delivered, rate.undelivered, rate.not_its_fault, rate.unknown)
        assert (rate.country, rate.window.seconds, found) == ("US", 1800, (2, 2, 1, 5))
        assert [(c.sent, c.verified) for p in texts for c in p.conversions] == [(1, 1), (1, 1)]
        _, out, _ = await run("health", "--target", later.grpc)
        assert "22% of 9" in out
        assert "1 lost, 1 not its fault, 5" in " ".join(out.split())


async def both_counted(client: AsyncClient) -> Sequence[provider_health_pb2.ProviderHealth]:
    """Twilio and SNS, once both rates and conversions are counted: two tasks do that, each at its own time."""
    async with asyncio.timeout(30):
        while True:
            texts = (await client.provider_health()).channels[1].providers
            if texts[0].delivery_rates and all(p.conversions for p in texts):
                return texts
            await asyncio.sleep(0.05)


async def watched(client: AsyncClient, message_id: str) -> list[message_pb2.Message]:
    return [message async for message in client.watch_message(message_id, timeout=30)]


def counted(metrics: str) -> Mapping[str, int]:
    lines = [line for line in metrics.splitlines() if line.startswith("relaypost_silences_total{")]
    return {line.split('result="')[1].split('"')[0]: int(float(line.split()[-1])) for line in lines}


async def test_beyond_the_bound_of_memory_messages_are_sent_and_not_waited_for(bundled_database: str) -> None:
    async with (
        peers() as world,
        gateway(world.environ(RELAYPOST_DELIVERY_WAITING_MESSAGES="1"), database=bundled_database) as running,
        AsyncClient(running.grpc) as client,
    ):
        assert (await send(client, SILENT)).HasField("confirm_until")
        beyond = await send(client, FAILED)
        assert (beyond.HasField("confirm_until"), beyond.message.provider) == (False, "twilio")
        code, out, _ = await run(
            "send-sms", "--to", BAD, "--text", "Hi", "--confirm-within", "5", "--json", "--target", running.grpc
        )
        assert (code, json.loads(out)["provider"]) == (0, "twilio")
        assert counted((await running.get("/metrics"))[1]) == {"no_room": 2}
        assert await running.stop() == 0
        [dropped] = running.events("no longer waited for confirmation")
        assert dropped["messages"] == 1
    assert world.counts() == {SILENT: {"twilio": 1}, FAILED: {"twilio": 1}, BAD: {"twilio": 1}}
