"""Senders of text messages through the real process: a name that a provider refuses costs nobody the message."""

import json
from urllib.parse import parse_qs

from relaypost import AsyncClient
from relaypost.v1 import message_pb2

from tests.e2e.gateway import AWS_KEYS, gateway
from tests.fakes.http import FakeHttp, Reply, Request, answer, fake_http
from tests.providers.configured import TWILIO

NUMBER = "+14155550100"
TAKEN = answer(201, b'{"sid":"SM1"}', Content_Type="application/json")
REFUSED = answer(400, json.dumps({"code": 21657, "message": "no"}).encode(), Content_Type="application/json")
PUBLISHED = answer(
    200, b"<PublishResponse><PublishResult><MessageId>id-1</MessageId></PublishResult></PublishResponse>"
)


def only_from_the_number(request: Request) -> Reply:
    return TAKEN if parse_qs(request.body.decode())["From"] == [NUMBER] else REFUSED


def last(fake: FakeHttp) -> dict[str, list[str]]:
    return parse_qs(fake.received[-1].body.decode())


async def test_a_message_arrives_although_a_provider_takes_no_such_name(bundled_database: str) -> None:
    async with fake_http(PUBLISHED) as sns, fake_http() as twilio:
        twilio.reply = only_from_the_number
        environ = {
            **AWS_KEYS,
            **TWILIO,
            "RELAYPOST_SNS_ENDPOINT": sns.url,
            "RELAYPOST_SNS_ORIGINATION_NUMBER": NUMBER,
            "RELAYPOST_SNS_SENDERS": '{"IN": "ACMEIN"}',
            "RELAYPOST_TWILIO_ENDPOINT": twilio.url,
        }
        async with gateway(environ, database=bundled_database) as running, AsyncClient(running.grpc) as client:
            # SNS takes no space in a name; Twilio refuses this one for the country, and takes its number.
            sent = await client.send_sms(to="+4915112345678", text="Hi", sender_id="My Shop")
            assert [a.provider for a in sent.attempts] == ["sns", "twilio"]
            assert sent.attempts[0].kind == message_pb2.OUTCOME_KIND_UNSUPPORTED
            assert (sns.received, len(twilio.received)) == ([], 2)
            assert [(a.field, a.kind) for a in sent.adjustments] == [
                ("sms.sender_id", message_pb2.ADJUSTMENT_KIND_REPLACED)
            ]
            await client.send_sms(to="+4915112345678", text="Hi", sender_id="My Shop")
            assert len(twilio.received) == 3
            # A name and a number of the account: SNS gets the name alone.
            await client.send_sms(to="+4915112345678", text="Hi", sender_id="Acme")
            values = {value for values in last(sns).values() for value in values}
            assert "AWS.SNS.SMS.SenderID" in values
            assert "AWS.MM.SMS.OriginationNumber" not in values
            india = await client.send_sms(to="+919876543210", text="Hi", sender_id="Acme")
            assert ["ACMEIN"] in last(sns).values()
            assert [a.field for a in india.adjustments] == ["sms.sender_id"]
