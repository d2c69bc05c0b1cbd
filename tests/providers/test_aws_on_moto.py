"""SES and SNS against moto, which checks every signature."""

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import boto3
import pytest

from relaypost_server.core.adjustments import AdjustmentKind
from relaypost_server.core.message import Address, Attachment, IndiaDlt, SmsType, Tracking
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind
from tests import messages, peers
from tests.providers.configured import AWS, OVER_HTTP, build

ALLOW = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """moto with a verified sender, and keys that it knows; any other key is refused."""
    with peers.moto(tmp_path_factory.mktemp("moto")) as url:
        anybody = {"region_name": "us-east-1", "endpoint_url": url, "aws_access_key_id": "a"}
        clients = {n: boto3.client(n, **anybody, aws_secret_access_key="b") for n in ("iam", "sesv2")}
        clients["iam"].create_user(UserName="relaypost")
        clients["iam"].put_user_policy(UserName="relaypost", PolicyName="all", PolicyDocument=ALLOW)
        key = clients["iam"].create_access_key(UserName="relaypost")["AccessKey"]
        clients["sesv2"].create_email_identity(EmailIdentity="noreply@example.com")
        peers.http_post(f"{url}/moto-api/reset-auth", b"0")
        keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        yield url, keys


@pytest.fixture
def url(aws: tuple[str, dict[str, str]], aws_keys: None, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in aws[1].items():
        monkeypatch.setenv(name, value)
    peers.http_post(f"{aws[0]}/moto-api/recorder/reset-recording")
    peers.http_post(f"{aws[0]}/moto-api/recorder/start-recording")
    return aws[0]


def recorded(url: str) -> list[str]:
    """The bodies of all requests since the test began."""
    status, lines = peers.http_get(f"{url}/moto-api/recorder/download-recording")
    assert status == 200
    requests = [json.loads(line) for line in lines.splitlines()]
    return [
        base64.b64decode(r["body"]).decode() if r.get("body_encoded") else r["body"]
        for r in requests
        if "moto-api" not in r["url"]
    ]


async def test_ses_takes_an_email_with_everything_in_it(url: str) -> None:
    environ = {**OVER_HTTP["ses"](url), "RELAYPOST_SES_CONFIGURATION_SET": "events"}
    provider = build("ses", environ)
    outcome = await provider.send(messages.full_email(), timeout=10.0)
    await provider.close()
    assert outcome.kind is Kind.ACCEPTED, outcome
    assert outcome.provider_message_id
    assert outcome.cost == Money(micros=300)
    (body,) = (json.loads(b) for b in recorded(url))
    assert body["FromEmailAddress"] == "Example <noreply@example.com>"
    assert body["Destination"] == {
        "ToAddresses": ["Ada <ada@example.com>"],
        "CcAddresses": ["grace@example.com"],
        "BccAddresses": ["alan@example.com"],
    }
    assert body["ReplyToAddresses"] == ["=?utf-8?b?SMOpbHA=?= <help@example.com>"]
    assert body["ConfigurationSetName"] == "events"
    assert {(t["Name"], t["Value"]) for t in body["EmailTags"]} == {
        ("relaypost_message_id", messages.ID),
        ("purpose", "signup"),
    }
    simple = body["Content"]["Simple"]
    assert simple["Subject"] == {"Data": "Your code", "Charset": "UTF-8"}
    assert simple["Body"]["Text"]["Data"] == "Your code is 482915"
    assert "cid:logo" in simple["Body"]["Html"]["Data"]
    assert {(h["Name"], h["Value"]) for h in simple["Headers"]} == {
        ("List-Unsubscribe", "<https://example.com/u?a=1>"),
        ("X-Campaign", "signup"),
    }
    pdf, logo = simple["Attachments"]
    assert (pdf["FileName"], pdf["ContentDisposition"], base64.b64decode(pdf["RawContent"])) == (
        "terms.pdf",
        "ATTACHMENT",
        b"%PDF-1.7 terms",
    )
    assert (logo["ContentDisposition"], logo["ContentId"]) == ("INLINE", "logo")


async def test_what_ses_is_sent_is_what_its_model_allows(url: str) -> None:
    """botocore's own validation, over the very body that went out."""
    from botocore.validate import ParamValidator

    provider = build("ses", OVER_HTTP["ses"](url))
    await provider.send(messages.full_email(), timeout=10.0)
    await provider.close()
    (body,) = (json.loads(b) for b in recorded(url))
    for file in body["Content"]["Simple"]["Attachments"]:
        file["RawContent"] = base64.b64decode(file["RawContent"])
    shape = boto3.client("sesv2", region_name="us-east-1").meta.service_model.operation_model("SendEmail").input_shape
    report = ParamValidator().validate(body, shape)
    assert not report.has_errors(), report.generate_report()


async def test_ses_refuses_a_sender_that_is_not_verified(url: str) -> None:
    provider = build("ses", OVER_HTTP["ses"](url))
    stranger = messages.email(sender=Address(email="stranger@example.net"))
    outcome = await provider.send(stranger, timeout=10.0)
    await provider.close()
    assert (outcome.kind, outcome.alert, outcome.provider_code) == (Kind.UNSUPPORTED, True, "MessageRejected")


@pytest.mark.parametrize("name", ["ses", "sns"])
async def test_a_wrong_secret_is_an_account_fault(name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    provider = build(name, OVER_HTTP[name](url))
    message: Any = messages.email() if name == "ses" else messages.sms()
    outcome = await provider.send(message, timeout=10.0)
    await provider.close()
    assert outcome.kind is Kind.UNAUTHORIZED


async def test_ses_takes_what_pasting_and_files_make_of_an_email(url: str) -> None:
    provider = build("ses", OVER_HTTP["ses"](url))
    files = (
        Attachment(filename="a.ics", content=b"", content_type="text/calendar; method=REQUEST"),
        Attachment(filename="a.csv", content="é".encode(), content_type="text/csv"),
    )
    message = messages.email(
        to=(Address(email='"a..b"@docomo.ne.jp', name="名" * 128),),
        text="",
        attachments=files,
        headers={"X-Org": "Société"},
        envelope_sender="noreply@example.com",
        tracking=Tracking.OFF,
    )
    outcome = await provider.send(message, timeout=10.0)
    await provider.close()
    assert outcome.kind is Kind.ACCEPTED, outcome
    assert [(a.field, a.kind) for a in outcome.adjustments] == [("email.to", AdjustmentKind.SHORTENED)]
    (body,) = (json.loads(b) for b in recorded(url))
    assert body["FeedbackForwardingEmailAddress"] == "noreply@example.com"
    assert body["ConfigurationOverrides"] == {
        "Tracking": {"OpenTrackingEnabled": "DISABLED", "ClickTrackingEnabled": "DISABLED"}
    }
    simple = body["Content"]["Simple"]
    assert simple["Headers"] == [{"Name": "X-Org", "Value": "=?utf-8?b?U29jacOpdMOp?="}]
    assert [a["ContentType"] for a in simple["Attachments"]] == [
        "text/calendar; method=REQUEST; charset=utf-8",
        "text/csv; charset=utf-8",
    ]


async def test_sns_takes_a_text_message_with_everything_in_it(url: str) -> None:
    provider = build(
        "sns", {**OVER_HTTP["sns"](url), "RELAYPOST_SNS_PRICES": '{"as_of": "2026-07-01", "IN": "0.00645"}'}
    )
    text = messages.sms(
        to="+919876543210",
        country="IN",
        text="é" * 161,
        sender_id="EXAMPLE",
        type=SmsType.PROMOTIONAL,
        max_price=Money(micros=500_000),
        india_dlt=IndiaDlt(entity_id="1101234567890", template_id="1107654321"),
    )
    outcome = await provider.send(text, timeout=10.0)
    await provider.close()
    assert outcome.kind is Kind.ACCEPTED, outcome
    assert (outcome.segments, outcome.cost) == (2, Money(micros=12_900))
    (form,) = (parse_qs(b) for b in recorded(url))
    entries = [f"MessageAttributes.entry.{n}" for n in range(1, 6)]
    attributes = {form[f"{e}.Name"][0]: form[f"{e}.Value.StringValue"][0] for e in entries}
    assert attributes == {
        "AWS.SNS.SMS.SMSType": "Promotional",
        "AWS.SNS.SMS.SenderID": "EXAMPLE",
        "AWS.SNS.SMS.MaxPrice": "0.500000",
        "AWS.MM.SMS.EntityId": "1101234567890",
        "AWS.MM.SMS.TemplateId": "1107654321",
    }
    assert (form["PhoneNumber"], form["Message"]) == (["+919876543210"], ["é" * 161])


async def test_the_opt_outs_of_sns_are_read(url: str) -> None:
    client = boto3.client("sns", region_name="us-east-1", endpoint_url=url)
    known = client.list_phone_numbers_opted_out()["phoneNumbers"]
    assert known
    provider = build("sns", OVER_HTTP["sns"](url))
    assert await provider.opted_out() == set(known)
    client.opt_in_phone_number(phoneNumber=known[0])
    assert await provider.opted_out() == set(known[1:])
    await provider.close()


async def test_the_doctor_reads_the_sms_spend_limit(url: str) -> None:
    boto3.client("sns", region_name="us-east-1", endpoint_url=url).set_sms_attributes(
        attributes={"MonthlySpendLimit": "50"}
    )
    provider = build("sns", {**AWS, "RELAYPOST_SNS_ENDPOINT": url})
    findings = {f.subject: f for f in await provider.check()}
    await provider.close()
    assert findings["spend limit"].detail == "50 USD a month"
