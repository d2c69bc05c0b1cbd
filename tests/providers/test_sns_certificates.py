"""A stranger's messages cause few fetches of certificates, and hold up nobody whose certificate is known."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from relaypost_server.core.ports import CallbackUnverifiedError
from relaypost_server.providers import _sns_certificates as module
from relaypost_server.providers._sns_certificates import Certificates
from tests.providers import vendor_events as vendor
from tests.providers.test_receipts import refusal, ses_with
from tests.signing import SNS, TOPIC, SnsTopic, callback, certificate_for

GOOD = f"{SNS}/SimpleNotificationService-{0:032x}.pem"


def name(number: int) -> str:
    return f"{SNS}/SimpleNotificationService-{number:032x}.pem"


@dataclass
class Published:
    """A fetcher that answers when it is told to."""

    page: bytes
    slow: set[str] = field(default_factory=set)
    fetched: list[str] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    async def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        self.asked.set()
        if url in self.slow:
            await self.answers.wait()
        if url != GOOD:
            raise CallbackUnverifiedError("HTTP 404")
        return self.page


class Time:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def page() -> bytes:
    return certificate_for(SnsTopic().key)


async def unverified(certificates: Certificates, url: str, peer: str = "a") -> str:
    with pytest.raises(CallbackUnverifiedError) as caught:
        await certificates.get(url, peer)
    return str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"Signature": None},
        {"Signature": "AAAA"},
        {"Signature": "no base64!"},
        {"SignatureVersion": "3"},
        {"TopicArn": TOPIC + "-other"},
        {"Type": "Other"},
        {"MessageId": None},
        {"Timestamp": "2020-01-01T00:00:00.000Z"},
        {"Timestamp": "soon"},
    ],
    ids=str,
)
async def test_what_is_wrong_without_a_certificate_causes_no_fetch(aws_keys: None, changes: dict[str, Any]) -> None:
    topic = SnsTopic()
    signed = topic.message(Message=json.dumps(vendor.SES_DELIVERY)) | changes
    body = json.dumps({name: value for name, value in signed.items() if value is not None}).encode()
    await refusal(ses_with(topic, RELAYPOST_SES_TOPIC_ARN=TOPIC), callback(body))
    assert topic.fetched == []


async def test_a_slow_fetch_holds_up_nobody_whose_certificate_is_known(page: bytes) -> None:
    published = Published(page, slow={name(1)})
    certificates = Certificates(published)
    await certificates.get(GOOD, "sns")
    published.asked.clear()
    waiting = asyncio.create_task(certificates.get(name(1), "stranger"))
    await published.asked.wait()
    async with asyncio.timeout(5):
        await certificates.get(GOOD, "sns")
    assert not waiting.done()
    published.answers.set()
    with pytest.raises(CallbackUnverifiedError):
        await waiting


async def test_many_who_need_one_certificate_fetch_it_once(page: bytes) -> None:
    published = Published(page, slow={GOOD})
    certificates = Certificates(published)
    waiting = [asyncio.create_task(certificates.get(GOOD, "sns")) for _ in range(20)]
    await published.asked.wait()
    waiting[0].cancel()
    published.answers.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert published.fetched == [GOOD]
    assert isinstance(found[0], asyncio.CancelledError)
    assert len({id(certificate) for certificate in found[1:]}) == 1


async def test_a_name_that_is_not_there_is_not_asked_for_again_at_once(page: bytes) -> None:
    published, now = Published(page), Time()
    certificates = Certificates(published, now)
    for _ in range(5):
        await unverified(certificates, name(1))
    assert published.fetched == [name(1)]
    now.now += module.MISSING_SECONDS
    await unverified(certificates, name(1))
    assert published.fetched == [name(1)] * 2


async def test_a_peer_with_random_names_causes_few_fetches_and_keeps_none_from_others(page: bytes) -> None:
    published, now = Published(page), Time()
    certificates = Certificates(published, now)
    for number in range(1, 1001):
        await unverified(certificates, name(number), "stranger")
    assert len(published.fetched) == module.FETCHES_A_MINUTE_PER_PEER
    await certificates.get(GOOD, "sns")
    assert published.fetched[-1] == GOOD
    now.now += module.MINUTE
    await unverified(certificates, name(1001), "stranger")
    assert published.fetched[-1] == name(1001)


async def test_all_peers_together_cause_few_fetches_a_minute(page: bytes) -> None:
    published = Published(page)
    certificates = Certificates(published, Time())
    for number in range(1, 1001):
        await unverified(certificates, name(number), f"stranger {number}")
    assert len(published.fetched) == module.FETCHES_A_MINUTE


async def test_few_fetches_run_at_once(page: bytes) -> None:
    names = [name(number) for number in range(1, module.MOST_FETCHES + 1)]
    published = Published(page, slow=set(names))
    certificates = Certificates(published)
    waiting = [asyncio.create_task(certificates.get(url, url)) for url in names]
    await asyncio.sleep(0)
    assert "limit of certificate fetches" in await unverified(certificates, name(99), "another")
    published.answers.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert published.fetched == names
    await certificates.get(GOOD, "another")


async def test_what_is_kept_is_bounded(page: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FETCHES_A_MINUTE", 1_000_000)
    published = Published(page)
    certificates = Certificates(published, Time())
    for number in range(1, 2 * module.MOST_MISSING):
        await unverified(certificates, name(number), str(number))
    kept: Any = certificates
    assert len(kept._missing) == module.MOST_MISSING
