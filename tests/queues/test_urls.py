"""The queue's URL: every mistake in it is found at the start, and none of it is shown."""

from pathlib import Path

import pytest

from relaypost_server.config import load
from relaypost_server.queues import open_queue, parse
from relaypost_server.queues._urls import RabbitAddress, SqsAddress
from relaypost_server.queues.rabbitmq import RabbitQueue
from relaypost_server.queues.sqs import SqsQueue
from relaypost_server.settings import SettingsError

SECRET = "s3cret"


def test_rabbitmq_is_named_as_everywhere_else() -> None:
    assert parse("amqp://guest@host") == RabbitAddress(url="amqp://guest@host?heartbeat=10", prefix="relaypost")
    full = parse(f"amqps://user:{SECRET}@host:5671/%2Fmail?prefix=eu&heartbeat=30")
    assert full == RabbitAddress(url=f"amqps://user:{SECRET}@host:5671/%2Fmail?heartbeat=30", prefix="eu")


def test_a_certificate_is_a_file_that_exists(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    url = f"amqps://host/?cafile={file}"
    with pytest.raises(ValueError, match="has a cafile that names no file"):
        parse(url)
    file.touch()
    address = parse(url)
    assert isinstance(address, RabbitAddress)
    assert "ca.pem" in address.url


def test_sqs_is_a_region_and_a_prefix() -> None:
    assert parse("sqs://eu-central-1") == SqsAddress(region="eu-central-1", prefix="relaypost")
    assert parse("sqs://us-gov-west-1/mail_2") == SqsAddress(region="us-gov-west-1", prefix="mail_2")


async def test_the_url_chooses_the_engine() -> None:
    assert isinstance(open_queue("amqp://host"), RabbitQueue)
    assert isinstance(open_queue("sqs://eu-central-1", endpoint="http://127.0.0.1:1"), SqsQueue)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        (f"redis://{SECRET}", "names no engine"),
        (f"amqp://u:{SECRET}@[::1", "is not a URL"),
        (f"amqp://u:{SECRET}@host:99999", "is not a URL"),
        (f"amqp://u:{SECRET}@host:0", "a port that there is not"),
        (f"amqp:///{SECRET}", "names no host"),
        (f"amqp://host/a/{SECRET}", "more than a vhost"),
        (f"amqp://host/?{SECRET}=1", "an option that there is not"),
        ("amqp://host/?no_verify_ssl=1", "an option that there is not"),
        (f"amqp://host/?prefix={SECRET}&prefix=b", "an option twice"),
        (f"amqp://host/?prefix={SECRET}%20", "a prefix that is not made of"),
        (f"amqp://host/?heartbeat={SECRET}", "a heartbeat that is not"),
        ("amqp://host/?heartbeat=0", "a heartbeat that is not"),
        (f"sqs://{SECRET}/relaypost", "names no region"),
        (f"sqs://key:{SECRET}@us-east-1/relaypost", "names no region"),
        (f"sqs://us-east-1/{SECRET}.fifo", "a prefix that is not made of"),
        (f"sqs://us-east-1/{'x' * 61}", "a prefix that is not made of"),
        (f"sqs://us-east-1/relaypost?{SECRET}", "something behind its prefix"),
    ],
)
def test_every_mistake_is_told_without_the_url(url: str, what: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({"RELAYPOST_QUEUE_URL": url})
    (problem,) = caught.value.problems
    assert problem.setting == "RELAYPOST_QUEUE_URL"
    assert what in problem.what
    assert SECRET not in str(caught.value)
    with pytest.raises(ValueError, match=what):
        open_queue(url)


@pytest.mark.parametrize("url", [{}, {"RELAYPOST_QUEUE_URL": "amqp://host"}])
def test_an_endpoint_is_for_sqs_alone(url: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="RELAYPOST_QUEUE_ENDPOINT"):
        load({"RELAYPOST_QUEUE_ENDPOINT": "https://vpce.example.com", **url})
    load({"RELAYPOST_QUEUE_ENDPOINT": "https://vpce.example.com", "RELAYPOST_QUEUE_URL": "sqs://us-east-1"})
