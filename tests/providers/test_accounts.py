"""What operators ask of the accounts at AWS: moto where it can, AWS's own answers where it cannot."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from relaypost_server.core.accounts import AccountError, AccountTrouble, EmailAccount, SenderIdentity, SmsAccount
from relaypost_server.core.money import Money
from tests import peers
from tests.fakes.http import answer, closed_port, fake_http
from tests.providers.configured import AWS, OVER_HTTP, build
from tests.providers.test_checks import ACCOUNT, as_json

pytestmark = pytest.mark.usefixtures("aws_keys")


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with peers.moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


def client(service: str, url: str) -> Any:
    # A session of its own: boto3's default one would keep this test's credentials for all later ones.
    return boto3.Session().client(service, region_name="us-east-1", endpoint_url=url)


def ses(url: str) -> EmailAccount:
    account: EmailAccount = build("ses", OVER_HTTP["ses"](url)).account
    assert isinstance(account, EmailAccount)
    return account


def sns(url: str) -> SmsAccount:
    environ = {**AWS, "RELAYPOST_SNS_ENDPOINT": url, "RELAYPOST_SNS_CLOUDWATCH_ENDPOINT": url}
    account: SmsAccount = build("sns", environ).account
    assert isinstance(account, SmsAccount)
    return account


def test_an_unknown_sender_is_sent_a_link_once(moto: str) -> None:
    made = ses(moto).verify_sender("new@example.org")
    assert made == SenderIdentity(identity="new@example.org", verified=False, requested=True)
    known = client("sesv2", moto).list_email_identities()["EmailIdentities"]
    assert [i["IdentityName"] for i in known if i["IdentityName"].endswith("example.org")] == ["new@example.org"]
    assert not ses(moto).verify_sender("new@example.org").requested


def test_a_sender_of_a_known_domain_needs_no_link(moto: str) -> None:
    client("sesv2", moto).create_email_identity(EmailIdentity="example.net")
    found = ses(moto).verify_sender("anybody@example.net")
    assert (found.identity, found.requested) == ("example.net", False)
    names = [i["IdentityName"] for i in client("sesv2", moto).list_email_identities()["EmailIdentities"]]
    assert "anybody@example.net" not in names


async def test_the_quota_is_what_ses_says() -> None:
    account = {**ACCOUNT, "PricingAttributes": {"CurrentPlan": "ESSENTIALS"}}
    async with fake_http() as peer:
        peer.reply = lambda _: as_json(account)
        quota = await asyncio.to_thread(ses(peer.url).sending_quota)
        account["SendQuota"] = {**ACCOUNT["SendQuota"], "Max24HourSend": -1.0}
        unlimited = await asyncio.to_thread(ses(peer.url).sending_quota)
    assert (quota.most_a_day, quota.most_a_second, quota.sent_in_a_day) == (50_000.0, 14.0, 120.0)
    assert (quota.sending_enabled, quota.production, quota.enforcement, quota.plan) == (
        True,
        True,
        "HEALTHY",
        "ESSENTIALS",
    )
    assert unlimited.most_a_day is None


def test_a_spend_that_nobody_published_is_unknown_and_not_zero(moto: str) -> None:
    assert sns(moto).sms_spend().spent is None


def test_the_spend_is_the_highest_figure_of_the_month(moto: str) -> None:
    now = datetime.now(UTC)
    client("cloudwatch", moto).put_metric_data(
        Namespace="AWS/SNS",
        MetricData=[{"MetricName": "SMSMonthToDateSpentUSD", "Timestamp": now, "Value": v} for v in (12.25, 12.5)],
    )
    found = sns(moto).sms_spend()
    assert found.spent == Money(micros=12_500_000)
    assert found.spent_time is not None
    assert abs((found.spent_time - now).total_seconds()) < 600


def test_the_limit_is_written_as_whole_dollars(moto: str) -> None:
    sns(moto).set_monthly_spend_limit(Money(micros=50_000_000))
    told = client("sns", moto).get_sms_attributes(attributes=["MonthlySpendLimit"])
    assert told["attributes"] == {"MonthlySpendLimit": "50"}
    assert sns(moto).sms_spend().limit == Money(micros=50_000_000)


@pytest.mark.parametrize(
    ("status", "code", "trouble"),
    [
        (403, "AccessDeniedException", AccountTrouble.REFUSED),
        (400, "BadRequestException", AccountTrouble.REFUSED),
        (429, "TooManyRequestsException", AccountTrouble.UNAVAILABLE),
        (400, "ThrottlingException", AccountTrouble.UNAVAILABLE),
        (500, "InternalFailure", AccountTrouble.UNAVAILABLE),
    ],
)
async def test_what_aws_refuses_says_why(status: int, code: str, trouble: AccountTrouble) -> None:
    body = b'{"message": "User arn:aws:iam::123456789012:user/AKIAIOSFODNN7EXAMPLE is not allowed"}'
    async with fake_http(answer(status, body, x_amzn_errortype=code)) as peer:
        with pytest.raises(AccountError) as refused:
            await asyncio.to_thread(ses(peer.url).sending_quota)
        assert len(peer.received) == 1  # boto3 must not repeat it.
    assert (refused.value.trouble, refused.value.code, refused.value.provider) == (trouble, code, "ses")
    assert "AKIA" not in str(refused.value)


def test_an_account_out_of_reach_is_not_a_refusal() -> None:
    with pytest.raises(AccountError) as failed:
        ses(f"http://127.0.0.1:{closed_port()}").sending_quota()
    assert failed.value.trouble is AccountTrouble.UNAVAILABLE


def test_without_credentials_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, moto: str) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(AccountError) as refused:
        sns(moto).set_monthly_spend_limit(Money(micros=1_000_000))
    assert refused.value.trouble is AccountTrouble.REFUSED
    assert "no AWS credentials" in str(refused.value)
