"""What Twilio and SNS tell of prices."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind
from relaypost_server.core.price_ports import PriceReader, PricesUnavailableError, Unpriced
from relaypost_server.providers import twilio_prices
from tests import messages, peers
from tests.fakes.http import Reply, Request, answer, closed_port, fake_http
from tests.messages import ID
from tests.providers.configured import AWS, OVER_HTTP, build

GROUP = "sns/us-east-1/123456789012/DirectPublishToPhoneNumber"


def unpriced(sid: str) -> Unpriced:
    return Unpriced(message_id=ID, number=1, provider_message_id=sid, start_time=datetime.now(UTC))


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twilio_prices, "PAUSE_SECONDS", 0.0)


def told(price: str | None, unit: str = "USD") -> Reply:
    """FetchMessage, in the shape of Twilio's contract."""
    body = {"sid": "SM1", "status": "delivered", "num_segments": "1", "price": price, "price_unit": unit}
    return answer(200, json.dumps(body).encode(), Content_Type="application/json")


@pytest.mark.usefixtures("hurried")
async def test_twilio_tells_its_price_as_a_negative_decimal() -> None:
    replies = {"SM1": told("-0.00750"), "SM2": told(None), "SM3": answer(404, b"{}"), "SM4": told("-0.0061", "eur")}

    def reply(request: Request) -> Reply:
        _, path, _ = request.line.split()
        return replies[path.rpartition("/")[2].removesuffix(".json")]

    async with fake_http() as peer:
        peer.reply = reply
        provider = build("twilio", OVER_HTTP["twilio"](peer.url))
        assert isinstance(provider, PriceReader)
        found = await provider.prices([unpriced(sid) for sid in replies])
        assert all(r.line.startswith("GET /2010-04-01/Accounts/AC") for r in peer.received)
        assert len(peer.received) == 4
    assert found == {"SM1": Money(micros=7_500), "SM4": Money(micros=6_100, currency="EUR")}


@pytest.mark.usefixtures("hurried")
async def test_twilio_is_left_alone_when_it_asks_for_patience() -> None:
    async with fake_http(answer(429, b'{"code": 20429, "message": "Too many"}')) as peer:
        provider = build("twilio", OVER_HTTP["twilio"](peer.url))
        with pytest.raises(PricesUnavailableError, match="429"):
            await provider.prices([unpriced("SM1"), unpriced("SM2")])
        assert len(peer.received) == 1


@pytest.mark.usefixtures("hurried")
async def test_what_twilio_told_before_it_failed_is_kept() -> None:
    replies = [told("-0.0075"), answer(500), told("-0.0075")]
    async with fake_http() as peer:
        peer.reply = lambda _: replies.pop(0)
        provider = build("twilio", OVER_HTTP["twilio"](peer.url))
        found = await provider.prices([unpriced(f"SM{n}") for n in (1, 2, 3)])
        assert len(peer.received) == 2
    assert found == {"SM1": Money(micros=7_500)}


async def test_twilio_out_of_reach() -> None:
    provider = build("twilio", OVER_HTTP["twilio"](f"http://127.0.0.1:{closed_port()}"))
    with pytest.raises(PricesUnavailableError):
        await provider.prices([unpriced("SM1")])


@pytest.mark.parametrize(("a_minute", "later"), [("60", True), ("0", False)])
async def test_only_a_provider_that_is_asked_tells_later(a_minute: str, later: bool) -> None:
    async with fake_http(answer(201, b'{"sid": "SM1"}')) as peer:
        environ = {**OVER_HTTP["twilio"](peer.url), "RELAYPOST_TWILIO_PRICES_A_MINUTE": a_minute}
        provider = build("twilio", environ)
        outcome = await provider.send(messages.sms(), timeout=10.0)
        await provider.close()
    assert (outcome.kind, outcome.price_later) == (Kind.ACCEPTED, later)


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with peers.moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


def sns(url: str, group: str = GROUP) -> Any:
    return build("sns", {**AWS, "RELAYPOST_SNS_DELIVERY_LOG_GROUP": group, "RELAYPOST_SNS_LOGS_ENDPOINT": url})


def write(url: str, group: str, *entries: Any) -> None:
    logs = boto3.Session().client("logs", region_name="us-east-1", endpoint_url=url)
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": e if isinstance(e, str) else json.dumps(e)} for e in entries]
    logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=events)


def entry(message_id: str, price: Any = 0.00645) -> dict[str, Any]:
    """As AWS documents it."""
    return {
        "notification": {"messageId": message_id, "timestamp": "2016-06-28 00:40:34.558"},
        "delivery": {"numberOfMessageParts": 1, "destination": "+1XXX5550100", "priceInUSD": price},
        "status": "SUCCESS",
    }


@pytest.mark.usefixtures("aws_keys")
async def test_sns_writes_prices_into_its_log(moto: str) -> None:
    write(moto, GROUP, entry("m-1"), entry("m-2", 0.0129), entry("other's"), entry("m-4", "much"), "no JSON", "[]")
    write(moto, f"{GROUP}/Failure", entry("m-3"))
    provider = sns(moto)
    assert isinstance(provider, PriceReader)
    assert provider.prices_a_minute == 200
    sent = [unpriced(f"m-{n}") for n in range(1, 45)]
    assert await provider.prices(sent) == {
        "m-1": Money(micros=6_450),
        "m-2": Money(micros=12_900),
        "m-3": Money(micros=6_450),
    }
    later = [replace(u, start_time=datetime(2999, 1, 1, tzinfo=UTC)) for u in sent]
    assert await provider.prices(later) == {}


@pytest.mark.usefixtures("aws_keys")
async def test_a_log_that_is_not_there_yet_has_no_prices(moto: str) -> None:
    assert await sns(moto, "sns/none").prices([unpriced("m-1")]) == {}


@pytest.mark.usefixtures("aws_keys")
async def test_a_log_that_may_not_be_read_is_no_empty_log() -> None:
    async with fake_http(answer(400, b'{"__type": "AccessDeniedException", "message": "no"}')) as peer:
        with pytest.raises(PricesUnavailableError, match="AccessDenied"):
            await sns(peer.url).prices([unpriced("m-1")])


async def test_without_a_log_group_sns_is_not_asked() -> None:
    assert build("sns", AWS).prices_a_minute == 0
