"""Costs, from the send to the chart, on the real process."""

import asyncio
import json
from pathlib import Path

import pytest
from relaypost import AsyncClient, RelaypostError

from tests.e2e.gateway import AWS_KEYS, Gateway, gateway, on_record
from tests.e2e.test_process import run
from tests.fakes.http import answer, fake_http
from tests.providers.configured import TWILIO

ACCEPTED = answer(200, b"<PublishResponse><PublishResult><MessageId>m-1</MessageId></PublishResult></PublishResponse>")


async def test_what_was_sent_is_what_is_reported(bundled_database: str, tmp_path: Path) -> None:
    async with fake_http(ACCEPTED) as sns, fake_http(answer(500)) as twilio:
        environ = {
            **AWS_KEYS,
            **TWILIO,
            "RELAYPOST_SNS_ENDPOINT": sns.url,
            "RELAYPOST_TWILIO_ENDPOINT": twilio.url,
            "RELAYPOST_TWILIO_PRIORITY": "1",
            "RELAYPOST_SNS_PRIORITY": "2",
            "RELAYPOST_SES_ENABLED": "false",
            "RELAYPOST_SNS_PRICES": '{"as_of": "2026-07-01", "US": "0.02"}',
            "RELAYPOST_TWILIO_PRICES": '{"as_of": "2026-07-01", "US": "0.01"}',
        }
        async with (
            gateway(environ, database=bundled_database, data_dir=tmp_path) as running,
            AsyncClient(running.grpc, caller="signup") as client,
        ):
            sent = await client.send_sms(to="+14155550123", text="Hi")
            assert sent.possible_duplicate
            assert (sent.attempts[0].cost.micros, sent.cost.micros) == (10_000, 30_000)
            await on_record(client, sent.message_id)
            code, out, _ = await run("cost", "--by", "caller", "--by", "country", "--json", "--target", running.grpc)
            assert code == 0
            report = json.loads(out)
            [line] = report["lines"]
            assert (line["caller"], line["country"]) == ("signup", "US")
            assert line["costs"]["cost"] == {"currencyCode": "USD", "micros": "30000"}
            assert line["costs"]["duplicates"] == {"currencyCode": "USD", "micros": "20000"}
            code, out, _ = await run("cost", "--target", running.grpc)
            assert code == 0
            assert "sms sns" in out
            assert "█" in out
            assert "second copies 0.02" in out
            assert "all by twilio" in out
            assert (await run("cost", "--from", "2999-01-01", "--target", running.grpc))[0] == 2
            code, out, _ = await run("cost", "--from", "2020-01-01", "--to", "2020-01-31", "--target", running.grpc)
            assert (code, "nothing was sent" in out) == (0, True)


async def test_replicas_keep_to_one_budget_and_across_restarts(bundled_database: str, tmp_path: Path) -> None:
    """SNS may cost 2 cents: the second message is Twilio's, whichever replica sends it. The caller may spend 3."""
    taken = answer(201, b'{"sid": "SM1", "status": "queued"}')
    async with fake_http(ACCEPTED) as sns, fake_http(taken) as twilio:
        environ = {
            **AWS_KEYS,
            **TWILIO,
            "RELAYPOST_SNS_ENDPOINT": sns.url,
            "RELAYPOST_TWILIO_ENDPOINT": twilio.url,
            "RELAYPOST_SES_ENABLED": "false",
            "RELAYPOST_SNS_PRICES": '{"as_of": "2026-07-01", "US": "0.02"}',
            "RELAYPOST_TWILIO_PRICES": '{"as_of": "2026-07-01", "US": "0.01"}',
            "RELAYPOST_SNS_BUDGET_HARD": "0.02",
            "RELAYPOST_CALLER_BUDGETS": '{"signup": {"soft": "0.01", "hard": "0.03"}}',
            "RELAYPOST_BUDGET_REFRESH_SECONDS": "1",
        }
        async with (
            gateway(environ, database=bundled_database, data_dir=tmp_path / "a") as first,
            gateway(environ, database=bundled_database, data_dir=tmp_path / "b") as second,
            AsyncClient(first.grpc, caller="signup") as one,
            AsyncClient(second.grpc, caller="signup") as other,
        ):
            await on_record(one, (await one.send_sms(to="+14155550123", text="Hi")).message_id)
            await until(second, 'relaypost_month_spend{kind="provider",name="sns"} 0.02')
            sent = await other.send_sms(to="+14155550123", text="Hi")
            assert [(a.provider, a.detail) for a in sent.attempts if a.provider == "sns"] == [
                ("sns", "the provider's budget of the month is used up")
            ]
            await until(first, 'relaypost_month_spend{kind="caller",name="signup"} 0.03')
            with pytest.raises(RelaypostError) as refused:
                await one.send_sms(to="+14155550123", text="Hi")
            assert refused.value.reason == "BUDGET_EXHAUSTED"
            assert [e["limit"] for e in first.events("budget reached") if e["name"] == "signup"] == ["soft", "hard"]
        async with (
            gateway(environ, database=bundled_database, data_dir=tmp_path / "a") as again,
            AsyncClient(again.grpc, caller="other") as client,
        ):
            assert (await client.send_sms(to="+14155550123", text="Hi")).provider == "twilio"
    assert (len(sns.received), len(twilio.received)) == (1, 2)


async def until(running: Gateway, metric: str) -> None:
    """Waits for the gateway to show the metric."""
    async with asyncio.timeout(30):
        while metric not in (await running.get("/metrics"))[1]:
            await asyncio.sleep(0.05)
