"""Webhooks: signatures, what follows from an answer, and which addresses they may go to."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import ip_address

import pytest
from hypothesis import given, strategies as st
from standardwebhooks import Webhook

from relaypost_server.core.message import MessageState
from relaypost_server.core.webhook import STATE_EVENTS, ClaimedDelivery, DeliveryState, Event
from relaypost_server.core.webhook_retry import LONGEST_RETRY_AFTER, SUGGESTED_DELAYS, Answer, settle
from relaypost_server.core.webhook_signing import headers, shown
from relaypost_server.core.webhook_targets import TargetPolicy, networks

EVENT = Event(
    id="7d444840-9dc0-11d1-b245-5ffdce74fad2",
    type="message.delivered",
    time=datetime(2026, 7, 1, 14, 0, 0, 120_000, tzinfo=timezone(timedelta(hours=2))),
    data={"message_id": "01981f00-0000-7000-8000-000000000001", "recipients": ["zoë@example.com"]},
)
DELIVERY = ClaimedDelivery(
    id="d",
    claim=1,
    attempt=1,
    endpoint_id="e",
    url="https://example.com",
    failures=0,
    secrets=(b"s" * 32,),
    event=EVENT,
)
POLICY = TargetPolicy()


def test_a_signature_is_the_known_one() -> None:
    """The vector that the specification's own libraries are tested with."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    assert headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, [secret]) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(st.binary(min_size=24, max_size=64), st.lists(st.binary(min_size=24, max_size=64), max_size=4), st.text())
def test_what_is_signed_is_believed(secret: bytes, others: list[bytes], text: str) -> None:
    """By the specification's own library, with any of the secrets."""
    body = replace(EVENT, data={"text": text}).body
    signed = headers(EVENT.id, int(datetime.now(UTC).timestamp()), body, [*others, secret])
    assert Webhook(shown(secret)).verify(body, signed) == json.loads(body)


def test_the_body_has_the_recommended_shape() -> None:
    assert json.loads(EVENT.body) == {
        "type": "message.delivered",
        "timestamp": "2026-07-01T12:00:00.120000Z",
        "data": {"message_id": "01981f00-0000-7000-8000-000000000001", "recipients": ["zoë@example.com"]},
    }
    assert EVENT.body == EVENT.body


def test_every_state_but_that_of_a_message_under_way_is_told() -> None:
    assert set(STATE_EVENTS) == {f"message.{s}" for s in MessageState} - {"message.sending"}


def test_secrets_and_addresses_are_not_shown() -> None:
    assert "ssss" not in repr(DELIVERY)
    assert "zoë" not in repr(DELIVERY)


def test_a_delivery_is_over_when_it_is_answered_with_success() -> None:
    for status in (200, 204, 299):
        done = settle(DELIVERY, Answer(status=status), SUGGESTED_DELAYS, 0.5)
        assert (done.state, done.pause) == (DeliveryState.DELIVERED, 0.0)


def test_the_schedule_is_the_specifications_own_example() -> None:
    minutes = [5 / 60, 5, 30, 2 * 60, 5 * 60, 10 * 60, 14 * 60, 20 * 60, 24 * 60]
    assert [60 * m for m in minutes] == list(SUGGESTED_DELAYS)
    assert Answer().status == 0


@pytest.mark.parametrize("status", [0, 100, 300, 301, 302, 307, 400, 404, 429, 500, 503])
def test_everything_else_is_tried_again(status: int) -> None:
    for attempt, longest in enumerate(SUGGESTED_DELAYS, start=1):
        delivery = replace(DELIVERY, attempt=attempt)
        settled = [settle(delivery, Answer(status=status), SUGGESTED_DELAYS, chance) for chance in (0.0, 0.5, 1.0)]
        assert {s.state for s in settled} == {DeliveryState.PENDING}
        assert [s.delay for s in settled] == [0.0, longest / 2, longest]
    last = replace(DELIVERY, attempt=len(SUGGESTED_DELAYS) + 1)
    assert settle(last, Answer(status=status), SUGGESTED_DELAYS, 0.5).state is DeliveryState.DEAD


def test_410_ends_it_at_once() -> None:
    gone = settle(DELIVERY, Answer(status=410), SUGGESTED_DELAYS, 0.5)
    assert (gone.state, gone.gone) == (DeliveryState.DEAD, True)


@pytest.mark.parametrize(("asked", "waited"), [(120.0, 120.0), (1.0, 2.5), (1e12, LONGEST_RETRY_AFTER)])
def test_what_the_endpoint_asks_for_is_honoured(asked: float, waited: float) -> None:
    answer = Answer(status=429, retry_after=asked)
    settlement = settle(DELIVERY, answer, SUGGESTED_DELAYS, 0.5)
    assert settlement.delay == waited
    assert settlement.pause >= min(asked, LONGEST_RETRY_AFTER)


def test_an_endpoint_that_fails_again_and_again_is_left_alone_for_longer() -> None:
    pauses = [
        settle(replace(DELIVERY, failures=n), Answer(status=500), SUGGESTED_DELAYS, 0.5).pause
        for n in (0, 1, 3, 9, 10**6)
    ]
    assert pauses == [1.0, 2.0, 8.0, 60.0, 60.0]


FORBIDDEN = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "192.88.99.1",
    "224.0.0.1",
    "233.252.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2001:10::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1111%1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "localhost",
    "2130706433",
    "0x7f000001",
    "127.1",
    "0177.0.0.1",
    "",
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "172.15.255.255",
    "172.32.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "169.253.255.255",
    "192.0.1.1",
    "223.255.255.254",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
]
METADATA = ["169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "fd00:ec2::254", "192.0.0.192"]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_what_is_not_public_is_out_of_reach(address: str) -> None:
    assert not POLICY.allows(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_not(address: str) -> None:
    assert POLICY.allows(address)


def test_ports_are_those_that_are_allowed() -> None:
    assert [port for port in (80, 442, 443, 444) if POLICY.allows_port(port)] == [443]
    several = TargetPolicy(ports=(range(443, 444), range(8000, 8010)))
    assert [port for port in (443, 444, 7999, 8000, 8009, 8010) if several.allows_port(port)] == [443, 8000, 8009]
    assert not POLICY.http


def test_networks_may_be_opened_and_no_others() -> None:
    policy = TargetPolicy(networks=networks(["10.1.0.0/16", "fd12:3456::/32"]))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd12:3456::1", "8.8.8.8"):
        assert policy.allows(address), address
    for address in ("10.2.0.1", "fd12:3457::1", "127.0.0.1"):
        assert not policy.allows(address), address


@pytest.mark.parametrize("address", [*METADATA, *(f"::ffff:{a}" for a in METADATA if ":" not in a)])
def test_no_setting_opens_metadata_services(address: str) -> None:
    assert not TargetPolicy(networks=networks(["0.0.0.0/0", "::/0"])).allows(address)


@given(st.ip_addresses())
def test_what_is_allowed_is_global(address: object) -> None:
    if POLICY.allows(str(address)):
        found = ip_address(str(address))
        plain = getattr(found, "ipv4_mapped", None) or found
        assert plain.is_global
        assert not plain.is_multicast
        assert not plain.is_private
