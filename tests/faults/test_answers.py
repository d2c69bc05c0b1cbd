"""Providers that answer badly, late, or not at all: rows 1 to 4 and 10 to 12 of the fault matrix."""

import asyncio

import pytest
from relaypost import SendFailedError
from relaypost.v1 import message_pb2, provider_health_pb2

from tests.e2e.gateway import AWS_KEYS
from tests.fakes import smtp
from tests.fakes.http import CLOSE, HANG, RESET, Reply, answer, fake_http
from tests.faults.database import read_log
from tests.faults.providers import EVERY, FAULT, TAKEN
from tests.faults.world import World, behind, every, first, kinds, until, world
from tests.providers.configured import SECRETS

MIB = 1024 * 1024
SENT = message_pb2.MESSAGE_STATE_SENT
UNCONFIRMED = message_pb2.MESSAGE_STATE_UNCONFIRMED
ANSWER_OF_100_MIB = f"HTTP/1.1 200 OK\r\nContent-Length: {100 * MIB}\r\n\r\n".encode() + b"x" * 100 * MIB


def lose_answers(running: World, provider: str) -> None:
    """The provider takes every message whole, and says nothing."""
    if provider == "smtp":
        running.providers.smtp.replies["."] = smtp.HANG
    else:
        running.providers.over_http(provider).always(HANG)


@pytest.mark.parametrize("provider", EVERY)
async def test_a_lost_answer_follows_the_guarantee_at_every_provider(provider: str, bundled_database: str) -> None:
    """Rows 1 and 2: A hangs after the full body. At most once: A = 1, B = 0. At least once: A = 1, B = 1."""
    second = behind(provider)
    async with world(bundled_database, first(provider)) as running:
        lose_answers(running, provider)
        once = await running.send(provider, at_most_once=True)
        assert (once.state, kinds(once)) == (UNCONFIRMED, [(provider, "UNCONFIRMED")])
        assert running.providers.counts == {provider: 1}
        twice = await running.send(provider)
        assert (twice.state, twice.possible_duplicate) == (SENT, True)
        assert kinds(twice) == [(provider, "UNCONFIRMED"), (second, "ACCEPTED")]
        assert running.providers.counts == {provider: 2, second: 1}


MAYBE_SENT = {
    "resets": RESET,
    "closes": CLOSE,
    "resets mid-answer": Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", then="reset"),
    "garbage": Reply(b"\x16\x03\x01 garbage"),
    "html": answer(200, b"<html>"),
    "half of the JSON": answer(200, b'{"MessageId":"ses'),
    "too much": answer(200, b"x" * 2_000_000),
    "a fault without a name": answer(500, b"{}"),
}
NOT_SENT = {
    "FAULTED": FAULT["ses"],
    "THROTTLED": answer(429, b"{}", x_amzn_errortype="TooManyRequestsException", Retry_After="7"),
}


async def test_each_lost_answer_fails_over_and_is_submitted_once(bundled_database: str) -> None:
    """Rows 4 and 10: unconfirmed, and never sent to A again."""
    async with world(bundled_database, every("BREAKER_FAILURES", "1000")) as running:
        for number, (name, reply) in enumerate(MAYBE_SENT.items(), start=1):
            running.providers.ses.always(reply)
            message = await running.email()
            assert (message.state, message.possible_duplicate) == (SENT, True), name
            assert kinds(message) == [("ses", "UNCONFIRMED"), ("sendgrid", "ACCEPTED")], name
            await asyncio.sleep(0.1)
            assert running.providers.counts == {"ses": number, "sendgrid": number}, name


async def test_what_certainly_was_not_sent_is_no_possible_duplicate(bundled_database: str) -> None:
    async with world(bundled_database) as running:
        for number, (kind, reply) in enumerate(NOT_SENT.items(), start=1):
            running.providers.ses.always(reply)
            message = await running.email()
            assert (message.state, message.possible_duplicate) == (SENT, False)
            assert kinds(message) == [("ses", kind), ("sendgrid", "ACCEPTED")]
            assert running.providers.counts == {"ses": number, "sendgrid": number}


async def test_an_answer_that_drips_is_cut_at_the_attempts_time_out(bundled_database: str) -> None:
    """Row 3: each byte comes in time, the answer does not."""
    async with world(bundled_database) as running:
        running.providers.ses.always(Reply(TAKEN["ses"].data, pause=0.2))
        message = await running.email()
    assert kinds(message) == [("ses", "UNCONFIRMED"), ("sendgrid", "ACCEPTED")]
    assert 0.9 < message.attempts[0].duration.ToTimedelta().total_seconds() < 1.5


async def test_an_endless_answer_is_not_read_to_its_end(bundled_database: str) -> None:
    """Row 10: 100 MiB, of which at most 1 MiB and what the kernel buffers is read.

    What the gateway still loads once it serves is no part of that.
    """
    environ = {**every("TIMEOUT_SECONDS", "10"), "RELAYPOST_LOG_LEVEL": "DEBUG"}
    async with world(bundled_database, environ) as running:
        await until(lambda: bool(running.gateway.events("preloaded")), seconds=60.0)
        await running.email()
        before = running.memory()
        running.providers.ses.always(Reply(ANSWER_OF_100_MIB))
        for _ in range(3):
            assert kinds(await running.email()) == [("ses", "UNCONFIRMED"), ("sendgrid", "ACCEPTED")]
        assert running.memory() - before < 16 * MIB


async def test_a_rejected_recipient_is_nobody_elses_business(bundled_database: str) -> None:
    """Row 11: fifty rejections leave the circuit closed, and B is never asked."""
    async with world(bundled_database) as running:
        running.providers.ses.always(answer(400, b'{"message":"Bad content"}', x_amzn_errortype="MessageRejected"))
        for _ in range(50):
            with pytest.raises(SendFailedError) as caught:
                await running.email()
            assert caught.value.reason == "MESSAGE_REJECTED"
        assert running.providers.counts == {"ses": 50}
        assert (await running.health("ses")).circuit_state == message_pb2.CIRCUIT_STATE_CLOSED


async def test_one_refusal_of_our_account_opens_the_circuit_and_shows_no_secret(bundled_database: str) -> None:
    """Row 12: open with the reason ACCOUNT; the key, which the provider repeats, is in no error, span or log."""
    said = f"key {AWS_KEYS['AWS_ACCESS_KEY_ID']} with {AWS_KEYS['AWS_SECRET_ACCESS_KEY']} is not valid"
    async with fake_http(answer(200)) as collector:
        environ = {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        async with world(bundled_database, environ) as running:
            running.providers.ses.always(
                answer(401, f'{{"message":"{said}"}}'.encode(), x_amzn_errortype="UnrecognizedClientException")
            )
            refused = await running.email()
            assert kinds(refused) == [("ses", "UNAUTHORIZED"), ("sendgrid", "ACCEPTED")]
            health = await running.health("ses")
            assert health.circuit_state == message_pb2.CIRCUIT_STATE_OPEN
            assert health.circuit_reason == provider_health_pb2.CIRCUIT_REASON_ACCOUNT
            assert kinds(await running.email()) == [("ses", "SKIPPED"), ("sendgrid", "ACCEPTED")]
            assert running.providers.received("ses") == 1
            await until(lambda: b"send ses" in b"".join(r.body for r in collector.received))
            _, metrics = await running.gateway.get("/metrics")
            spans = b"".join(r.body for r in collector.received).decode("latin-1")
            shown = [str(refused), str(health), metrics, spans, *running.gateway.raw]
    for secret in (AWS_KEYS["AWS_ACCESS_KEY_ID"], AWS_KEYS["AWS_SECRET_ACCESS_KEY"]):
        assert secret not in "".join(shown)


async def test_when_nobody_can_send_the_caller_learns_everything(bundled_database: str) -> None:
    async with world(bundled_database, {"RELAYPOST_SMTP_ENABLED": "false"}) as running:
        running.providers.ses.always(FAULT["ses"])
        running.providers.sendgrid.always(answer(401, b'{"errors":[{"message":"bad key"}]}'))
        with pytest.raises(SendFailedError) as caught:
            await running.email()
        error = caught.value
        assert error.reason == "PROVIDERS_EXHAUSTED"
        assert error.retry_after == 1.0
        assert [(a.provider, a.provider_code) for a in error.attempts] == [
            ("ses", "ServiceUnavailableException"),
            ("sendgrid", "401"),
        ]
        async with asyncio.timeout(10):
            while not (found := await read_log(bundled_database)):
                await asyncio.sleep(0.05)
        assert [(entry.message_id, entry.state) for entry in found] == [(error.message_id, "failed")]


async def test_nothing_that_is_shown_holds_a_secret_or_the_message(bundled_database: str) -> None:
    """The providers repeat the whole request in their errors."""

    def echo(running: World, status: int) -> None:
        def reply(request: object) -> Reply:
            said = str(request).replace('"', "'").replace("\\", "")
            return answer(status, f'{{"message":"{said}","errors":[{{"message":"{said}"}}]}}'.encode())

        running.providers.ses.reply = running.providers.sendgrid.reply = reply

    shown = []
    async with world(bundled_database, {"RELAYPOST_SMTP_ENABLED": "false"}) as running:
        for status in (400, 401, 429, 500):
            echo(running, status)
            for _ in range(2):
                try:
                    shown.append(str(await running.email()))
                except SendFailedError as error:
                    shown.append(f"{error} {error.as_dict()}")
        shown += [(await running.gateway.get(path))[1] for path in ("/metrics", "/health/messaging")]
    shown += running.gateway.raw
    everything = "".join(shown)
    for secret in (*SECRETS.values(), "482915"):
        assert secret not in everything
    logged = "".join(running.gateway.raw)
    assert "ada@example.com" not in logged


async def test_a_hundred_messages_at_once_while_the_first_provider_flaps(bundled_database: str) -> None:
    async with world(bundled_database, every("BREAKER_FAILURES", "1000")) as running:
        ses = running.providers.ses
        ses.reply = lambda _: TAKEN["ses"] if len(ses.received) % 2 else RESET
        messages = await asyncio.gather(*(running.email() for _ in range(100)))
        assert all(m.state == SENT for m in messages)
        attempts = [p for m in messages for p, k in kinds(m) if k != "SKIPPED"]
        assert running.providers.counts == {p: attempts.count(p) for p in set(attempts)}
