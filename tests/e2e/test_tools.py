"""The command line and grpcurl, as people use them."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import peers
from tests.e2e.gateway import AWS_KEYS, Gateway, gateway
from tests.e2e.test_process import run
from tests.fakes.http import CLOSE, answer, closed_port, fake_http
from tests.peers import open_up


@pytest.fixture
async def running(bundled_database: str) -> AsyncIterator[Gateway]:
    """A gateway whose SES refuses connections, so that the console carries all emails."""
    environ = {
        **AWS_KEYS,
        "RELAYPOST_SES_ENDPOINT": f"http://127.0.0.1:{closed_port()}",
        "RELAYPOST_SNS_ENABLED": "false",
        "RELAYPOST_CONSOLE_BESIDE_REAL": "true",
    }
    async with gateway(environ, database=bundled_database) as started:
        yield started


async def test_send_email_draws_its_attempts(running: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("notes")
    arguments = ["--to", "ada@example.com", "--cc", "b@x.org", "--subject", "Hi", "--text", "Hi", "--attach", str(file)]
    arguments += ["--header", "X-A=1 ", "--tag", "a=b", "--metadata", "k=v", "--target", running.grpc]
    arguments += ["--bounces-to", "bounces@example.com", "--no-track"]
    code, out, err = await run("send-email", *arguments)
    assert (code, err) == (0, "")
    assert "bounces: bounces@example.com" in "".join(running.printed)
    assert 'email.headers["X-A"] trimmed spaces around it were dropped' in " ".join(out.split())
    assert "sent by console" in out
    assert "ses" in out
    assert "unreachable" in out


async def test_send_email_prints_json(running: Gateway) -> None:
    arguments = ["--to", "ada@example.com", "--subject", "Hi", "--text", "Hi", "--target", running.grpc, "--json"]
    code, out, _ = await run("send-email", *arguments)
    message = json.loads(out)
    assert code == 0
    assert [a["provider"] for a in message["attempts"]] == ["ses", "console"]


async def test_send_sms(running: Gateway) -> None:
    code, out, _ = await run(
        "send-sms", "--to", "415-555-0123", "--region", "US", "--text", "Hi", "--target", running.grpc, "--json"
    )
    assert code == 0
    assert json.loads(out)["recipients"] == ["+14155550123"]


async def test_bad_input_is_named_field_by_field(running: Gateway) -> None:
    arguments = ["--to", "nobody", "--subject", "", "--text", "Hi", "--target", running.grpc]
    code, _, err = await run("send-email", *arguments)
    assert code == 2
    assert "email.to[0].address is not an email address" in err
    assert "email.subject is required" in err


async def test_a_gateway_that_is_not_there_is_said_so() -> None:
    target = f"127.0.0.1:{closed_port()}"
    for arguments in (["health"], ["send-sms", "--to", "+14155550123", "--text", "x"]):
        code, _, err = await run(*arguments, "--target", target, "--timeout", "3")
        assert code == 1
        assert target in err
        assert "Traceback" not in err


async def test_health_is_a_table_and_json(running: Gateway) -> None:
    code, out, _ = await run("health", "--target", running.grpc)
    assert code == 0
    assert "closed" in out
    assert "message log" in out
    code, out, _ = await run("health", "--target", running.grpc, "--json")
    assert [c["channel"] for c in json.loads(out)["channels"]] == ["CHANNEL_EMAIL", "CHANNEL_SMS"]


async def test_migrate_says_what_it_did(empty_bundled_database: str) -> None:
    code, out, _ = await run("migrate", RELAYPOST_DATABASE_URL=empty_bundled_database)
    assert (code, out.splitlines()[0]) == (0, "applied 0001_messages")
    code, out, _ = await run("migrate", "--json", RELAYPOST_DATABASE_URL=empty_bundled_database)
    assert (code, json.loads(out)) == (0, {"applied": []})


async def test_migrate_works_on_the_bundled_database(tmp_path: Path) -> None:
    code, out, _ = await run("migrate", "--json", RELAYPOST_DATA_DIR=str(open_up(tmp_path)))
    assert (code, json.loads(out)["applied"][0]) == (0, "0001_messages")


async def test_migrate_without_a_database_fails_without_a_traceback() -> None:
    url = f"postgresql://nobody@127.0.0.1:{closed_port()}/none"
    code, _, err = await run("migrate", RELAYPOST_DATABASE_URL=url)
    assert code == 1
    assert "cannot migrate" in err
    assert "Traceback" not in err


async def test_the_doctor_says_whether_failover_would_work(bundled_database: str) -> None:
    account = {"ProductionAccessEnabled": True, "SendingEnabled": True, "SendQuota": {"Max24HourSend": 100}}
    async with fake_http(answer(200, json.dumps({**account, "VerifiedForSendingStatus": True}).encode())) as ses:
        environ = {
            **AWS_KEYS,
            "RELAYPOST_SES_ENDPOINT": ses.url,
            "RELAYPOST_SNS_ENABLED": "false",
            "RELAYPOST_DATABASE_URL": bundled_database,
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(closed_port()),
        }
        code, out, _ = await run("doctor", "--json", **environ)
        report = json.loads(out)
        assert code == 1
        email, sms = report["channels"]
        assert (email["level"], email["detail"]) == ("failure", "only ses is known to work: nothing to fail over to")
        assert sms["level"] == "warning"
        code, out, _ = await run("doctor", **environ)
        assert "✗ connection" in out


async def test_the_doctor_without_settings_says_that_nothing_is_sent(tmp_path: Path) -> None:
    code, out, _ = await run("doctor", RELAYPOST_DATA_DIR=str(tmp_path))
    assert code == 0
    assert "printed, not sent" in out


async def test_the_demo_shows_two_failovers() -> None:
    code, out, _ = await run("demo", COLUMNS="120")
    assert code == 0
    for words in ("ServiceUnavailableException", "unreachable", "It arrived all the same.", "So did this."):
        assert words in out
    assert out.count("accepted") == 2


async def test_settings_are_listed_as_the_docs_have_them() -> None:
    """`make docs` writes docs/settings.md anew."""
    _, out, _ = await run("settings", "--markdown")
    assert out == (peers.ROOT / "docs" / "settings.md").read_text()
    _, out, _ = await run("settings", "--json")
    assert "RELAYPOST_SES_PRIORITY" in json.loads(out)


def grpcurl(target: str, *arguments: str) -> str:
    tool = peers.program("grpcurl", Path(sys.executable).parent)
    done = subprocess.run(
        [tool, "-plaintext", *arguments[:-1], target, arguments[-1]], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


async def test_grpcurl_needs_no_file_of_ours(running: Gateway) -> None:
    listed = await asyncio.to_thread(grpcurl, running.grpc, "list")
    assert "relaypost.v1.MessagingService" in listed
    body = '{"email":{"to":[{"address":"ada@example.com"}],"subject":"Hi","text":"Hi"}}'
    sent = await asyncio.to_thread(grpcurl, running.grpc, "-d", body, "relaypost.v1.MessagingService/SendEmail")
    message = json.loads(sent)["message"]
    assert [a["kind"] for a in message["attempts"]] == ["OUTCOME_KIND_UNREACHABLE", "OUTCOME_KIND_ACCEPTED"]
    bad = await asyncio.to_thread(
        grpcurl, running.grpc, "-d", '{"email":{}}', "relaypost.v1.MessagingService/SendEmail"
    )
    assert "InvalidArgument" in bad
    assert "email.subject" in bad


async def test_an_unconfirmed_message_is_found_and_settled_by_hand(bundled_database: str) -> None:
    async with fake_http(CLOSE) as ses:
        environ = {**AWS_KEYS, "RELAYPOST_SES_ENDPOINT": ses.url, "RELAYPOST_SNS_ENABLED": "false"}
        async with gateway(environ, database=bundled_database) as started:
            target = ["--target", started.grpc]
            email = ["--to", "ada@example.com", "--subject", "Hi", "--text", "Hi", "--at-most-once"]
            code, out, _ = await run("send-email", *email, "--request-id", "order-7", *target)
            message_id = out.split()[0]
            assert (code, out.split()[1]) == (0, "unconfirmed")
            code, out, _ = await run("list", "--state", "unconfirmed", *target, COLUMNS="80")
            assert code == 0
            assert message_id in out
            code, out, _ = await run("resolve", message_id, "--not-sent", *target)
            assert (code, out) == (0, f"{message_id}  failed\n")
            code, _, err = await run("resolve", message_id, "--sent", *target)
            assert code == 1
            assert "MESSAGE_NOT_UNCONFIRMED" in err
