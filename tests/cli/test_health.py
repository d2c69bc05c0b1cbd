"""What `relaypost health` draws."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from relaypost.v1 import message_pb2, messaging_service_pb2 as pb, provider_health_pb2 as health_pb
from rich.console import Console

from relaypost_server.cli.health import picture

HALF_AN_HOUR, A_DAY = Duration(seconds=1800), Duration(seconds=86_400)
RATES = [
    health_pb.DeliveryRate(
        country="US", delivered=1204, undelivered=40, not_its_fault=22, unknown=9, window=HALF_AN_HOUR
    ),
    health_pb.DeliveryRate(country="IN", delivered=3, undelivered=97, window=HALF_AN_HOUR),
]
CONVERSIONS = [health_pb.Conversion(country="US", sent=300, verified=243, window=A_DAY)]


def drawn(*providers: health_pb.ProviderHealth, width: int = 80) -> list[list[str]]:
    """The words of each line."""
    channel = health_pb.ChannelHealth(channel=message_pb2.CHANNEL_SMS, serving=True, providers=providers)
    out = io.StringIO()
    health = pb.GetProviderHealthResponse(channels=[channel])
    Console(file=out, width=width).print(picture(health, pb.GetGatewayHealthResponse()))
    return [line.split() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_what_arrived_is_drawn_by_provider_and_country(width: int) -> None:
    lines = drawn(
        health_pb.ProviderHealth(provider="twilio", delivery_rates=RATES, conversions=CONVERSIONS),
        health_pb.ProviderHealth(provider="sns", conversions=CONVERSIONS),
        width=width,
    )
    heading = "provider country delivered, 30 min verified, 24 h the rest"
    assert heading in [" ".join(line) for line in lines]
    assert ["twilio", "IN", "░" * 10, "3%", "of", "100", "97", "lost"] in lines
    [us] = [line for line in lines if line[:2] == ["twilio", "US"]]
    assert us[2:11] == ["██████████", "96%", "of", "1,253", "81%", "of", "300", "18", "lost,"]
    assert ["sns", "US", "no", "receipts", "81%", "of", "300"] in lines


def test_a_provider_that_is_looked_at_warily_says_for_how_long() -> None:
    wary = health_pb.ProviderHealth(provider="sns", circuit_state=message_pb2.CIRCUIT_STATE_CLOSED)
    wary.wary_until_time.FromDatetime(datetime.now(UTC) + timedelta(seconds=40.4))
    assert any("wary for 40 s" in " ".join(line) for line in drawn(wary, width=120))
    assert not any("wary" in line for line in drawn(health_pb.ProviderHealth(provider="sns"), width=120))


def test_nothing_is_drawn_where_nothing_is_known() -> None:
    assert not any("arrived" in line for line in drawn(health_pb.ProviderHealth(provider="sns")))
