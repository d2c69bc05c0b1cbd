"""What the doctor says of the servers that a gateway leans on beside its providers."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import peers
from tests.e2e.gateway import AWS_KEYS
from tests.e2e.test_process import run
from tests.fakes.http import closed_port
from tests.queues.engines import rabbit_url
from tests.redis_server import redis_server


@pytest.fixture
def rabbit() -> str:
    return rabbit_url()


async def examined(database: str, **environ: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the first finding of each check."""
    code, out, _ = await run("doctor", "--json", RELAYPOST_DATABASE_URL=database, **environ)
    return code, {check["name"]: check["findings"][0] for check in json.loads(out)["checks"]}


async def test_what_is_not_set_up_is_not_looked_at(bundled_database: str) -> None:
    _, found = await examined(bundled_database)
    assert set(found) == {"message log", "console"}


async def test_rabbitmq_is_asked(bundled_database: str, rabbit: str) -> None:
    code, found = await examined(bundled_database, RELAYPOST_QUEUE_URL=rabbit)
    assert (code, found["queue"]["level"], found["queue"]["detail"]) == (0, "ok", "RabbitMQ, connected")


async def test_a_rabbitmq_out_of_reach_is_a_failure_without_its_password(bundled_database: str) -> None:
    url = f"amqp://ada:hunter2@127.0.0.1:{closed_port()}/"
    code, found = await examined(bundled_database, RELAYPOST_QUEUE_URL=url)
    assert (code, found["queue"]["level"]) == (1, "failure")
    assert "RELAYPOST_QUEUE_URL" in found["queue"]["fix"]
    assert "hunter2" not in json.dumps(found)


async def test_sqs_is_asked_and_nothing_is_made_there(bundled_database: str, tmp_path: Path) -> None:
    with peers.moto(tmp_path) as moto:
        environ = {
            **AWS_KEYS,
            "RELAYPOST_QUEUE_URL": "sqs://us-east-1/letters",
            "RELAYPOST_QUEUE_ENDPOINT": moto,
            "RELAYPOST_SES_ENABLED": "false",
            "RELAYPOST_SNS_ENABLED": "false",
        }
        for _ in range(2):
            _, found = await examined(bundled_database, **environ)
            assert found["queue"]["level"] == "ok"
            assert "will be made: letters-otp, letters-transactional, letters-bulk" in found["queue"]["detail"]


async def test_redis_is_asked_and_may_be_away(bundled_database: str) -> None:
    async with redis_server() as redis:
        code, found = await examined(bundled_database, RELAYPOST_REDIS_URL=redis.url)
        assert (code, found["advice"]["level"], found["advice"]["detail"]) == (0, "ok", "connected")
    code, found = await examined(bundled_database, RELAYPOST_REDIS_URL=redis.url)
    assert (code, found["advice"]["level"]) == (0, "warning")
    assert "RELAYPOST_REDIS_URL" in found["advice"]["fix"]


async def test_the_proxy_of_each_provider_is_shown_without_its_password(bundled_database: str) -> None:
    """Nothing listens there, so nothing of this test leaves the machine."""
    environ = {
        "SENDGRID_API_KEY": "SG.ngeVfQFYQlKU0ufo8x5d1A.TwL2iGABf9DHoTf",
        "TWILIO_ACCOUNT_SID": "AC0123456789abcdef0123456789abcdef",
        "TWILIO_AUTH_TOKEN": "0123456789abcdef0123456789abcdee",
        "TWILIO_PHONE_NUMBER": "+14155550100",
        "RELAYPOST_TWILIO_ENDPOINT": f"https://localhost:{closed_port()}",
        "SMTP_HOST": "localhost",
        "SMTP_PORT": str(closed_port()),
        "SMTP_USER": "ada@example.com",
        "RELAYPOST_SMTP_OAUTH_TOKEN_URL": "https://login.example.com/token",
        "RELAYPOST_SMTP_OAUTH_CLIENT_ID": "relaypost",
        "RELAYPOST_SMTP_OAUTH_CLIENT_SECRET": "hunter2",
        "https_proxy": f"http://ada:hunter2@127.0.0.1:{closed_port()}",
        "no_proxy": "localhost",
    }
    _, out, _ = await run("doctor", "--json", RELAYPOST_DATABASE_URL=bundled_database, **environ)
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    shown = {f["subject"]: f["detail"] for f in checks["proxy"]["findings"]}
    assert set(shown) == {"sendgrid", "twilio", "smtp's token endpoint"}
    assert shown["sendgrid"].startswith("through http://127.0.0.1:")
    assert shown["twilio"] == "none"
    assert shown["smtp's token endpoint"] == shown["sendgrid"]
    assert not checks["sendgrid"]["works"]
    assert "hunter2" not in out
