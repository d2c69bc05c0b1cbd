"""One-time passwords through the real process, before real peers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import asyncpg
import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from relaypost import AsyncClient, OtpLimitError, OtpNotVerifiedError, RelaypostError
from relaypost.migration import OtpService
from relaypost.v1 import message_pb2

from tests import peers
from tests.e2e.gateway import AWS_KEYS, gateway
from tests.e2e.test_tracing import Sink
from tests.fakes.http import HANG, FakeHttp, answer, fake_http
from tests.fakes.otp import other_than
from tests.postfix import postfix
from tests.providers.configured import TWILIO

PEPPER = {"RELAYPOST_OTP_PEPPER": "end-to-end-pepper-of-32-characters"}


@pytest.fixture(scope="module")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Twilio, as its contract says."""
    folder = tmp_path_factory.mktemp("prism")
    with peers.prism(peers.oracle("twilio_messages_min.json"), folder) as twilio:
        yield {**TWILIO, "RELAYPOST_TWILIO_ENDPOINT": twilio}


def aws(ses: FakeHttp, sns: FakeHttp) -> dict[str, str]:
    return {
        **AWS_KEYS,
        **PEPPER,
        "RELAYPOST_SES_ENDPOINT": ses.url,
        "RELAYPOST_SNS_ENDPOINT": sns.url,
        "RELAYPOST_SES_TIMEOUT_SECONDS": "1",
        "RELAYPOST_SNS_TIMEOUT_SECONDS": "1",
    }


def emailed(ses: FakeHttp) -> str:
    """The code in the latest request to SES."""
    return _code(json.loads(ses.received[-1].body)["Content"]["Simple"]["Body"]["Text"]["Data"])


def texted(sns: FakeHttp) -> str:
    """The code in the latest request to SNS."""
    return _code(parse_qs(sns.received[-1].body.decode())["Message"][0])


def _code(text: str) -> str:
    found = re.search(r"\b[0-9]{4,10}\b", text)
    assert found is not None
    return found.group()


async def test_a_sign_up_goes_through_while_the_first_providers_hang(
    contracts: dict[str, str], bundled_database: str, self_signed: tuple[Path, Path], tmp_path: Path
) -> None:
    with postfix(tmp_path, *self_signed) as mail:
        smtp = {
            "SMTP_HOST": "localhost",
            "SMTP_PORT": str(mail.port),
            "RELAYPOST_SMTP_CA_FILE": str(self_signed[0]),
        }
        async with (
            fake_http(HANG) as ses,
            fake_http(HANG) as sns,
            gateway(aws(ses, sns), contracts, smtp, database=bundled_database) as running,
            AsyncClient(running.grpc, caller="signup") as client,
        ):
            by_email = await client.send_otp(email="ada@example.com", purpose="sign_up", request_id="ada-email")
            assert [a.provider for a in by_email.message.attempts] == ["ses", "smtp"]
            by_sms = await client.send_otp(phone="+14155550123", purpose="sign_up", request_id="ada-sms")
            assert [a.provider for a in by_sms.message.attempts] == ["sns", "twilio"]
            for sent in (by_email, by_sms):
                assert sent.message.state == message_pb2.MESSAGE_STATE_SENT
                assert sent.message.possible_duplicate
            again = await client.send_otp(phone="+14155550123", purpose="sign_up", request_id="ada-sms")
            assert again.replayed
            assert (again.otp_id, again.message) == (by_sms.otp_id, by_sms.message)
            assert len(sns.received) == 1
            proven = await client.verify_otp(by_email.otp_id, emailed(ses))
            assert (proven.purpose, proven.destination) == ("sign_up", "ada@example.com")
            assert (await client.verify_otp(by_sms.otp_id, texted(sns))).destination == "+14155550123"


async def test_the_code_is_in_no_log_span_metric_or_table(bundled_database: str) -> None:
    spans, server = Sink(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(spans, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    traced = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "RELAYPOST_LOG_LEVEL": "DEBUG",
        "RELAYPOST_OTP_COOL_DOWNS": "0",
    }
    accepted = answer(200, b'{"MessageId":"0100-000"}', Content_Type="application/json")
    async with fake_http(accepted) as ses, fake_http(HANG) as sns:
        async with (
            gateway(aws(ses, sns), traced, database=bundled_database) as running,
            AsyncClient(running.grpc) as client,
        ):
            sent = await client.send_otp(email="ada@example.com", purpose="sign_in", code_length=10, request_id="r")
            code = emailed(ses)
            errors = [await _failure(client, sent.otp_id, typed) for typed in (other_than(code), f"{code}x")]
            assert emailed(ses) == code
            await client.resend_otp(sent.otp_id)
            assert (emailed(ses), len(ses.received)) == (code, 2)
            await client.verify_otp(sent.otp_id, code)
            errors.append(await _failure(client, sent.otp_id, code))
            metrics, health = (await running.get("/metrics"))[1], (await running.get("/health/messaging"))[1]
            assert await running.stop() == 0
        assert 'relaypost_otp_events_total{event="verified",what="email"} 1.0' in metrics
        assert spans.batches
        shown = "\n".join([*running.raw, *running.printed, metrics, health, *map(str, spans.batches), *errors])
        assert sent.message.message_id in shown
        assert code not in shown
        tables = await _dump(bundled_database)
        assert sent.otp_id in tables
        assert code not in tables
    await server.stop(0)


async def test_codes_are_good_at_every_gateway_and_for_the_seeds_three_calls(bundled_database: str) -> None:
    accepted = answer(200, b'{"MessageId":"0100-000"}', Content_Type="application/json")
    async with fake_http(accepted) as ses, fake_http(HANG) as sns:
        one, other = (gateway(aws(ses, sns), database=bundled_database) for _ in range(2))
        async with one as first, other as second, AsyncClient(first.grpc) as here, AsyncClient(second.grpc) as there:
            service = OtpService(here, app="Acme")
            sent = await service.send_otp_email("ada@example.com")
            assert (await OtpService(there).verify_otp(sent.otp_id, emailed(ses))).purpose == "verification"
            with pytest.raises(OtpNotVerifiedError):
                await service.verify_otp(sent.otp_id, emailed(ses))
            texted_otp = await _maybe_sent(service)
            assert texted_otp == "UNCONFIRMED"
            health = await service.get_messaging_health()
            assert [c["channel"] for c in health["channels"]] == ["CHANNEL_EMAIL", "CHANNEL_SMS"]
            for _ in range(4):
                await there.send_otp(email="ada@example.com", purpose="sign_in")
            with pytest.raises(OtpLimitError) as caught:
                await here.send_otp(email="ada@example.com", purpose="sign_in")
            assert caught.value.limits == ["destination"]
            assert 590 < (caught.value.retry_after or 0) <= 600


async def test_a_gateway_without_settings_keeps_a_pepper_of_its_own(bundled_database: str, tmp_path: Path) -> None:
    environ = {"RELAYPOST_CONSOLE_SHOW_CODES": "true", "RELAYPOST_OTP_PEPPER": ""}
    async with (
        gateway(environ, database=bundled_database, data_dir=tmp_path) as running,
        AsyncClient(running.grpc) as client,
    ):
        sent = await client.send_otp(phone="+14155550123", purpose="sign_in")
    code = _code("".join(running.printed).partition("code")[0].rpartition("│")[2])
    assert (tmp_path / "otp-pepper").stat().st_mode & 0o777 == 0o600
    async with (
        gateway(environ, database=bundled_database, data_dir=tmp_path) as running,
        AsyncClient(running.grpc) as client,
    ):
        assert (await client.verify_otp(sent.otp_id, code)).verified


async def _failure(client: AsyncClient, otp_id: str, typed: str) -> str:
    with pytest.raises(OtpNotVerifiedError) as caught:
        await client.verify_otp(otp_id, typed)
    return str(caught.value.as_dict())


async def _maybe_sent(service: OtpService) -> str:
    """The state of a text message whose only provider hangs."""
    try:
        sent = await service.send_otp_sms("+14155550123")
    except RelaypostError as error:
        return error.reason
    return message_pb2.MessageState.Name(sent.message.state).removeprefix("MESSAGE_STATE_")


async def _dump(database: str) -> str:
    """Every row of every table, as text."""
    connection = await asyncpg.connect(database)
    rows: list[Any] = []
    for (table,) in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'relaypost'"):
        rows += await connection.fetch(f"SELECT t::text FROM relaypost.{table} AS t")
    await connection.close()
    return "\n".join(str(row[0]) for row in rows)
