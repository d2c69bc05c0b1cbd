"""confirm_within: what is refused, and what is answered."""

import asyncio
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from relaypost import AsyncClient, InvalidRequestError
from relaypost.v1 import messaging_service_pb2 as pb, sms_pb2

from relaypost_server.core.message import Channel
from tests.api.conftest import Serve
from tests.fakes.providers import FakeProvider

SMS = sms_pb2.Sms(to="+14155550123", text="Hi")


@pytest.mark.parametrize(
    "fields", [{"confirm_within": 30.0, "at_most_once": True}, {"confirm_within": 4.9}, {"confirm_within": 600.1}]
)
async def test_wishes_that_make_no_sense_are_refused(serve: Serve, fields: dict[str, Any]) -> None:
    served = await serve()
    async with AsyncClient(channel=served.channel) as client:
        for call in (
            client.send_sms(to="+14155550123", text="Hi", **fields),
            client.send_otp(phone="+14155550123", purpose="sign_in", ttl=3600, **fields),
            client.send_otp(email="ada@example.com", purpose="sign_in", ttl=30, confirm_within=30.0),
        ):
            with pytest.raises(InvalidRequestError) as caught:
                await call
            assert [v.field for v in caught.value.violations] == ["confirm_within"]
    assert served.texts.providers[0].received == []


@pytest.mark.parametrize("within", [Duration(seconds=5), Duration(seconds=600)], ids=["shortest", "longest"])
async def test_the_answer_tells_until_when_is_waited(serve: Serve, within: Duration) -> None:
    served = await serve(texts=[FakeProvider(name, channel=Channel.SMS) for name in "ab"])
    answer = await served.stub.SendSms(pb.SendSmsRequest(sms=SMS, confirm_within=within))
    waited = answer.confirm_until.ToNanoseconds() - answer.message.update_time.ToNanoseconds()
    assert 0 <= waited - within.ToNanoseconds() < 60e9
    plain = await served.stub.SendSms(pb.SendSmsRequest(sms=SMS))
    assert not plain.HasField("confirm_until")


async def test_a_caller_who_goes_away_is_waited_for_all_the_same(serve: Serve) -> None:
    release = asyncio.Event()

    async def slow(message: object, timeout: float) -> Any:
        await release.wait()
        return FakeProvider("a").answers[0]

    served = await serve(texts=[FakeProvider("a", [slow], channel=Channel.SMS), FakeProvider("b", channel=Channel.SMS)])
    call = served.stub.SendSms(pb.SendSmsRequest(sms=SMS, confirm_within=Duration(seconds=5)))
    async with asyncio.timeout(10):
        while not served.texts.providers[0].received:
            await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.sleep(0.05)
        release.set()
        while "silence_waiting_messages 1.0" not in served.texts.metrics.render().decode():
            await asyncio.sleep(0.01)
