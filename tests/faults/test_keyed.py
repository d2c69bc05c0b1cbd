"""Sends with a request_id: what is one message stays one, whatever fails (RELIABILITY.md, section 4)."""

import asyncio
import signal
from typing import Any

import grpc
import pytest
from relaypost import AsyncClient
from relaypost.v1 import message_pb2, messaging_service_pb2 as pb

from tests.api import test_validation as requests
from tests.api.status import Failure, failure_of
from tests.databases import over_tcp, socket_of
from tests.e2e.gateway import gateway
from tests.fakes.http import HANG, Reply, answer
from tests.fakes.proxy import proxy
from tests.faults.database import read_log
from tests.faults.providers import FAULT, TAKEN
from tests.faults.world import KEYED_SENDS, LEASE_SECONDS, SHORT_LEASE, World, until, world

pytestmark = pytest.mark.skipif(not KEYED_SENDS, reason="this version of the API has no request ids")

SENT = message_pb2.MESSAGE_STATE_SENT
UNCONFIRMED = message_pb2.MESSAGE_STATE_UNCONFIRMED
ONLY_SES = {"RELAYPOST_SMTP_ENABLED": "false", "RELAYPOST_SENDGRID_ENABLED": "false"}


def request(key: str = "order-7", *, at_most_once: bool = False, **changes: Any) -> pb.SendEmailRequest:
    made = requests.email(**changes)
    keyed: Any = made
    keyed.request_id = key
    if at_most_once:
        made.delivery_guarantee = message_pb2.DELIVERY_GUARANTEE_AT_MOST_ONCE
    return made


async def send(running: World | AsyncClient, made: pb.SendEmailRequest, caller: str = "shop") -> Any:
    """The whole response."""
    client = running.client if isinstance(running, World) else running
    return await client.stub.SendEmail(made, metadata=(("relaypost-caller", caller),), timeout=3.5)


async def refusal(running: World, made: pb.SendEmailRequest) -> Failure:
    return await failure_of(send(running, made))


async def test_the_same_request_again_is_answered_from_the_log(bundled_database: str) -> None:
    async with world(bundled_database, SHORT_LEASE) as running:
        sent = await send(running, request())
        assert (sent.message.state, sent.replayed) == (SENT, False)
        again = await send(running, request())
        assert again.replayed
        assert again.message.message_id == sent.message.message_id
        assert running.providers.counts == {"ses": 1}


async def test_the_same_id_with_other_content_is_refused(bundled_database: str) -> None:
    async with world(bundled_database, SHORT_LEASE) as running:
        await send(running, request())
        failure = await refusal(running, request(subject="Another"))
        assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
        assert running.providers.counts == {"ses": 1}


async def test_a_request_that_still_runs_is_not_begun_again(bundled_database: str) -> None:
    async with world(bundled_database, SHORT_LEASE) as running:
        running.providers.ses.always(Reply(TAKEN["ses"].data, delay=0.6))
        sending = asyncio.create_task(send(running, request()))
        await until(lambda: running.providers.received("ses") == 1)
        failure = await refusal(running, request())
        assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "REQUEST_IN_PROGRESS")
        assert failure.retry_seconds
        first = await sending
        assert (await send(running, request())).message.message_id == first.message.message_id
        assert running.providers.counts == {"ses": 1}


async def test_ids_of_different_callers_and_methods_do_not_meet(bundled_database: str) -> None:
    async with world(bundled_database, SHORT_LEASE) as running:
        answers = [await send(running, request(), caller) for caller in ("shop", "bank")]
        text = requests.sms()
        keyed: Any = text
        keyed.request_id = "order-7"
        metadata = (("relaypost-caller", "shop"),)
        answers.append(await running.client.stub.SendSms(text, metadata=metadata))
        assert len({a.message.message_id for a in answers}) == 3
        assert running.providers.counts == {"ses": 2, "sns": 1}


async def test_what_certainly_was_not_sent_is_tried_again_as_the_same_message(bundled_database: str) -> None:
    async with world(bundled_database, SHORT_LEASE, ONLY_SES) as running:
        running.providers.ses.always(FAULT["ses"])
        assert (await refusal(running, request())).code is grpc.StatusCode.UNAVAILABLE
        running.providers.heal()
        sent = await send(running, request())
        assert (sent.message.state, sent.replayed) == (SENT, False)
        (entry,) = await read_log(bundled_database)
        assert entry.message_id == sent.message.message_id
        assert entry.attempts == (("ses", "faulted"), ("ses", "accepted"))


async def test_what_may_have_been_sent_is_answered_alike_and_not_sent_again(bundled_database: str) -> None:
    async with world(bundled_database, SHORT_LEASE) as running:
        running.providers.ses.always(HANG)
        first = await send(running, request(at_most_once=True))
        again = await send(running, request(at_most_once=True))
        assert [a.message.state for a in (first, again)] == [UNCONFIRMED] * 2
        assert again.replayed
        assert running.providers.counts == {"ses": 1}


async def test_a_rejection_is_kept(bundled_database: str) -> None:
    async with world(bundled_database, SHORT_LEASE | {"RELAYPOST_SMTP_ENABLED": "false"}) as running:
        running.providers.ses.always(answer(400, b'{"message":"Bad content"}', x_amzn_errortype="MessageRejected"))
        reasons = [(await refusal(running, request())).reason for _ in range(2)]
        assert reasons == ["MESSAGE_REJECTED"] * 2
        assert running.providers.counts == {"ses": 1}
        # Nobody rejects, and everybody refuses: one of them because it knows no such recipient.
        running.providers.ses.always(
            answer(400, b'{"message":"Address blacklisted."}', x_amzn_errortype="MessageRejected")
        )
        running.providers.sendgrid.always(answer(400, b'{"errors":[{"message":"no","field":"subject"}]}'))
        reasons = [(await refusal(running, request("other"))).reason for _ in range(2)]
        assert reasons == ["MESSAGE_REJECTED"] * 2
        assert running.providers.counts == {"ses": 2, "sendgrid": 1}


@pytest.mark.parametrize("policy", ["refuse", "send"])
async def test_without_the_database_a_setting_decides(policy: str, bundled_database: str) -> None:
    """Row 17: uniqueness cannot be proven; what has no request_id goes out all the same."""
    environ = SHORT_LEASE | {"RELAYPOST_KEYED_WITHOUT_DATABASE": policy}
    async with (
        proxy(socket_of(bundled_database)) as way,
        world(over_tcp(bundled_database, way.port), environ) as running,
    ):
        await send(running, request("before"))
        way.cut()
        if policy == "send":
            assert (await send(running, request())).message.state == SENT
        else:
            failure = await refusal(running, request())
            assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "IDEMPOTENCY_UNAVAILABLE")
            assert failure.retry_seconds
            assert running.providers.counts == {"ses": 1}
        assert (await running.email()).state == SENT
        way.mend()


async def settled(client: AsyncClient, made: pb.SendEmailRequest) -> Any:
    """The answer once the lease of the gateway that was killed is over."""
    async with asyncio.timeout(LEASE_SECONDS + 20):
        while True:
            try:
                return await send(client, made)
            except grpc.RpcError as error:
                if Failure(error).reason != "REQUEST_IN_PROGRESS":
                    raise
                await asyncio.sleep(0.3)


@pytest.mark.parametrize("at_most_once", [True, False])
async def test_a_kill_within_an_attempt_sends_nothing_there_again(at_most_once: bool, bundled_database: str) -> None:
    """Row 19: the attempt was on record before its first byte, so another gateway knows that it may have been sent."""
    made = request(at_most_once=at_most_once)
    async with world(bundled_database, SHORT_LEASE) as running:
        running.providers.ses.always(HANG)
        sending = asyncio.create_task(send(running, made))
        await until(lambda: running.providers.received("ses") == 1)
        await running.gateway.stop(signal.SIGKILL)
        await asyncio.gather(sending, return_exceptions=True)
        async with (
            gateway(running.environ, SHORT_LEASE, database=bundled_database) as second,
            AsyncClient(second.grpc) as client,
        ):
            answered = (await settled(client, made)).message
        counts = running.providers.counts
    assert answered.attempts[0].kind == message_pb2.OUTCOME_KIND_UNCONFIRMED
    assert counts["ses"] == 1
    if at_most_once:
        assert (answered.state, counts) == (UNCONFIRMED, {"ses": 1})
    else:
        assert (answered.state, answered.possible_duplicate) == (SENT, True)
        assert counts == {"ses": 1, "sendgrid": 1}
