"""What the doctor makes of each account. AWS's answers have the shapes of its own model."""

import json
from typing import Any

import boto3
import pytest

from relaypost_server.core.ports import Finding, Level
from tests.fakes.http import FakeHttp, Reply, Request, answer, closed_port, fake_http
from tests.providers.configured import OVER_HTTP, build

pytestmark = pytest.mark.usefixtures("aws_keys")

ACCOUNT: dict[str, Any] = {
    "ProductionAccessEnabled": True,
    "SendingEnabled": True,
    "EnforcementStatus": "HEALTHY",
    "SendQuota": {"Max24HourSend": 50_000.0, "MaxSendRate": 14.0, "SentLast24Hours": 120.0},
}
QUOTA = {"Max24HourSend": 200.0, "MaxSendRate": 1.0, "SentLast24Hours": 200.0}


async def findings(name: str, peer: FakeHttp, **environ: str) -> dict[str, Finding]:
    provider = build(name, {**OVER_HTTP[name](peer.url), **environ})
    found = await provider.check()
    await provider.close()
    return {f.subject: f for f in found}


def as_json(value: Any, status: int = 200) -> Reply:
    return answer(status, json.dumps(value).encode(), Content_Type="application/json")


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({}, Level.OK, "120 of 50000"),
        ({"SendQuota": {**QUOTA, "Max24HourSend": -1.0}}, Level.OK, "unlimited"),
        ({"ProductionAccessEnabled": False}, Level.WARNING, "sandbox"),
        ({"EnforcementStatus": "PROBATION"}, Level.WARNING, "under review"),
        ({"EnforcementStatus": "SHUTDOWN"}, Level.FAILURE, "paused"),
        ({"SendingEnabled": False}, Level.FAILURE, "paused"),
        ({"SendQuota": QUOTA}, Level.FAILURE, "used up"),
    ],
)
async def test_ses_account(changes: dict[str, Any], level: Level, words: str) -> None:
    async with fake_http(as_json(ACCOUNT | changes)) as peer:
        account = (await findings("ses", peer))["account"]
    assert account.level is level
    assert words in account.detail
    assert account.fix or level is Level.OK


def test_the_account_has_the_shape_of_the_model() -> None:
    """Every name that the check reads is one that GetAccount returns."""
    model = boto3.client("sesv2", region_name="us-east-1").meta.service_model.operation_model("GetAccount")
    assert set(ACCOUNT) <= set(model.output_shape.members)
    assert set(QUOTA) == set(model.output_shape.members["SendQuota"].members)


@pytest.mark.parametrize(
    ("identities", "level"),
    [
        ({"noreply%40example.com": True}, Level.OK),
        ({"example.com": True}, Level.OK),
        ({"example.com": False}, Level.FAILURE),
        ({}, Level.FAILURE),
    ],
)
async def test_ses_sender(identities: dict[str, bool], level: Level) -> None:
    def reply(request: Request) -> Reply:
        _, path, _ = request.line.split()
        name = path.rpartition("/")[2]
        if name == "account":
            return as_json(ACCOUNT)
        if name in identities:
            return as_json({"VerifiedForSendingStatus": identities[name]})
        return answer(404, b'{"message":"no"}', x_amzn_errortype="NotFoundException")

    async with fake_http() as peer:
        peer.reply = reply
        found = await findings("ses", peer, OTP_FROM_EMAIL="noreply@example.com")
    assert found["sender"].level is level


async def test_aws_keys_that_are_refused() -> None:
    async with fake_http(answer(403, b"{}", x_amzn_errortype="UnrecognizedClientException")) as peer:
        account = (await findings("ses", peer))["account"]
    assert (account.level, account.detail) == (Level.FAILURE, "AWS answered UnrecognizedClientException")


@pytest.mark.parametrize(("inside", "level"), [("true", Level.WARNING), ("false", Level.OK)])
async def test_sns_sandbox(inside: str, level: Level) -> None:
    def reply(request: Request) -> Reply:
        action = "GetSMSSandboxAccountStatus" if b"Sandbox" in request.body else "GetSMSAttributes"
        result = f"<IsInSandbox>{inside}</IsInSandbox>" if "Sandbox" in action else "<attributes/>"
        return answer(200, f"<{action}Response><{action}Result>{result}</{action}Result></{action}Response>".encode())

    async with fake_http() as peer:
        peer.reply = reply
        found = await findings("sns", peer)
    assert found["account"].level is level
    assert found["spend limit"].level is Level.WARNING


@pytest.mark.parametrize(
    ("reply", "level"),
    [
        (as_json({"scopes": ["mail.send"]}), Level.OK),
        (as_json({"scopes": ["alerts.read"]}), Level.FAILURE),
        (as_json({"errors": []}, 401), Level.FAILURE),
        (as_json({"errors": []}, 500), Level.UNKNOWN),
    ],
)
async def test_sendgrid_key(reply: Reply, level: Level) -> None:
    async with fake_http(reply) as peer:
        assert (await findings("sendgrid", peer))["credentials"].level is level


@pytest.mark.parametrize(
    ("status", "kind", "level"),
    [
        ("active", "Full", Level.OK),
        ("active", "Trial", Level.WARNING),
        ("suspended", "Full", Level.FAILURE),
    ],
)
async def test_twilio_account(status: str, kind: str, level: Level) -> None:
    def reply(request: Request) -> Reply:
        if "Balance" in request.line:
            return as_json({"balance": "12.50", "currency": "USD"})
        return as_json({"status": status, "type": kind})

    async with fake_http() as peer:
        peer.reply = reply
        assert (await findings("twilio", peer))["account"].level is level


async def test_twilio_token_that_is_refused() -> None:
    async with fake_http(as_json({"code": 20003, "message": "Authenticate", "status": 401}, 401)) as peer:
        account = (await findings("twilio", peer))["account"]
    assert (account.level, account.detail) == (Level.FAILURE, "Twilio answered HTTP 401")


@pytest.mark.parametrize("name", sorted(OVER_HTTP))
async def test_a_provider_out_of_reach_is_unknown_and_no_accident(name: str) -> None:
    provider = build(name, OVER_HTTP[name](f"http://127.0.0.1:{closed_port()}"))
    found = await provider.check()
    await provider.close()
    assert {f.level for f in found} == {Level.UNKNOWN}
    assert all(f.fix for f in found)
