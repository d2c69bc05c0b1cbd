"""The whole gateway before moto, the vendors' contracts and Postfix at once."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from relaypost import Address, AsyncClient, Attachment, SendFailedError
from relaypost.v1 import message_pb2

from tests import peers
from tests.e2e.gateway import gateway
from tests.postfix import postfix
from tests.providers.configured import SECRETS, TWILIO
from tests.providers.test_aws_on_moto import ALLOW


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Settings for a moto that checks signatures and knows one verified sender."""
    with peers.moto(tmp_path_factory.mktemp("moto")) as url:
        anybody = {"region_name": "us-east-1", "endpoint_url": url, "aws_access_key_id": "a"}
        iam = boto3.client("iam", **anybody, aws_secret_access_key="b")
        iam.create_user(UserName="relaypost")
        iam.put_user_policy(UserName="relaypost", PolicyName="all", PolicyDocument=ALLOW)
        key = iam.create_access_key(UserName="relaypost")["AccessKey"]
        ses = boto3.client("sesv2", **anybody, aws_secret_access_key="b")
        ses.create_email_identity(EmailIdentity="noreply@example.com")
        peers.http_post(f"{url}/moto-api/reset-auth", b"0")
        yield {
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
            "RELAYPOST_SES_ENDPOINT": url,
            "RELAYPOST_SNS_ENDPOINT": url,
        }


@pytest.fixture(scope="module")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("prism")
    mail, texts = peers.oracle("tsg_mail_v3.strict.json"), peers.oracle("twilio_messages_min.json")
    with peers.prism(mail, folder) as sendgrid, peers.prism(texts, folder) as twilio:
        yield {
            **TWILIO,
            "SENDGRID_API_KEY": SECRETS["SENDGRID_API_KEY"],
            "RELAYPOST_SENDGRID_ENDPOINT": sendgrid,
            "RELAYPOST_TWILIO_ENDPOINT": twilio,
        }


def providers(message: message_pb2.Message) -> list[str]:
    return [a.provider for a in message.attempts]


async def test_each_real_provider_carries_a_message_when_those_before_it_cannot(
    aws: dict[str, str],
    contracts: dict[str, str],
    bundled_database: str,
    self_signed: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    with postfix(tmp_path, *self_signed) as mail:
        smtp = {
            "SMTP_HOST": "localhost",
            "SMTP_PORT": str(mail.port),
            "RELAYPOST_SMTP_CA_FILE": str(self_signed[0]),
        }
        async with (
            gateway(aws, contracts, smtp, database=bundled_database) as running,
            AsyncClient(running.grpc) as client,
        ):
            first = await client.send_email(to="ada@example.com", subject="Hi", text="Hi")
            assert providers(first) == ["ses"]
            stranger = Address("stranger@example.net")
            second = await client.send_email(to="ada@example.com", subject="Hi", text="Hi", sender=stranger)
            assert providers(second) == ["ses", "sendgrid"]
            hidden = await client.send_email(
                to=(),
                bcc="ada@example.com",
                subject="Hi",
                text="Hi",
                sender=stranger,
                attachments=[Attachment("a.bin", b"x" * 70_000)],
            )
            assert providers(hidden) == ["ses", "sendgrid", "smtp"]
            sms = await client.send_sms(to="+14155550123", text="Hi")
            assert providers(sms) == ["sns"]
            with pytest.raises(SendFailedError) as caught:
                await client.send_sms(to="+4915112345678", text="Hi", max_price_micros=1)
            assert [a.provider for a in caught.value.attempts] == ["sns", "twilio"]
