"""Costs, from the send to the chart, on the real process."""

import json
from pathlib import Path

from relaypost import AsyncClient

from tests.e2e.gateway import AWS_KEYS, gateway, on_record
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
