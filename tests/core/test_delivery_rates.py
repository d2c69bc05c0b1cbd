"""What arrives, and when that is too little."""

import pytest

from relaypost_server.core.delivery import EventType, RejectReason
from relaypost_server.core.delivery_rates import DeliveryRate, Fate, SicknessPolicy, rates
from relaypost_server.core.message import Channel

POLICY = SicknessPolicy(below=0.3, least=50)


def fate(
    kind: EventType | None, messages: int = 1, *, reason: RejectReason | None = None, permanent: bool = True, **of: str
) -> Fate:
    return Fate(
        channel=Channel.SMS,
        provider=of.get("provider", "twilio"),
        country=of.get("country", "US"),
        kind=kind,
        reason=reason,
        permanent=permanent,
        messages=messages,
    )


def rate(delivered: int = 0, lost: int = 0, not_its_fault: int = 0, unknown: int = 0) -> DeliveryRate:
    return DeliveryRate(
        channel=Channel.SMS,
        provider="twilio",
        country="US",
        delivered=delivered,
        undelivered=lost + not_its_fault,
        not_its_fault=not_its_fault,
        unknown=unknown,
        window=1800.0,
    )


def test_fates_add_up_by_provider_and_country() -> None:
    found = rates(
        [
            fate(EventType.DELIVERED, 7),
            fate(EventType.OPENED, 1),
            fate(None, 3),
            fate(EventType.FAILED, 4, reason=RejectReason.OTHER),
            fate(EventType.BOUNCED, 5, reason=RejectReason.INVALID),
            fate(EventType.BOUNCED, 6, reason=RejectReason.TIMED_OUT, permanent=False),
            fate(EventType.DELIVERED, 2, country="IN"),
            fate(EventType.DELIVERED, 9, provider="sns"),
        ],
        window=1800.0,
    )
    assert [(r.provider, r.country, r.delivered, r.undelivered, r.not_its_fault, r.unknown) for r in found] == [
        ("sns", "US", 9, 0, 0, 0),
        ("twilio", "IN", 2, 0, 0, 0),
        ("twilio", "US", 8, 15, 11, 3),
    ]
    assert {r.window for r in found} == {1800.0}


@pytest.mark.parametrize(
    ("found", "sick"),
    [
        ([], False),
        ([rate(lost=50)], True),
        ([rate(lost=49)], False),
        ([rate(delivered=15, lost=35)], False),
        ([rate(delivered=14, lost=36)], True),
        ([rate(delivered=14, unknown=36)], True),
        ([rate(not_its_fault=1_000_000)], False),
        ([rate(delivered=10, not_its_fault=1_000_000)], False),
        ([rate(unknown=1000)], False),
        ([rate(unknown=1000), rate(delivered=20, lost=30)], False),
        ([rate(unknown=1000), rate(delivered=10, lost=40)], True),
        ([rate(delivered=40), rate(lost=10)], False),
    ],
)
def test_too_little_of_enough_makes_a_provider_sick(found: list[DeliveryRate], sick: bool) -> None:
    assert POLICY.is_sick(found) is sick


def test_the_rule_can_be_switched_off() -> None:
    assert not SicknessPolicy(below=0.0, least=1).is_sick([rate(lost=1000)])
