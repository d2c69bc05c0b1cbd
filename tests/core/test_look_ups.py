"""Which look-ups settle a message."""

from datetime import timedelta

import pytest

from relaypost_server.core.look_ups import Doubt, settled_by
from tests.messages import ID, NOW
from tests.receipts import event

ONE = event(provider="twilio", provider_message_id="SM1")
OTHER = event(provider="twilio", provider_message_id="SM2")


def doubt(rivals: int = 0, *known: str) -> Doubt:
    return Doubt(
        message_id=ID,
        provider="twilio",
        recipient="+14155550123",
        sender="",
        start_time=NOW,
        duration=3.0,
        rivals=rivals,
        known=frozenset(known),
    )


def test_only_the_one_message_that_can_be_meant_settles() -> None:
    assert settled_by(doubt(), [ONE], by_our_id=False) == [ONE]
    assert settled_by(doubt(0, "SM2"), [ONE, OTHER], by_our_id=False) == [ONE]
    assert settled_by(doubt(), [ONE, OTHER], by_our_id=False) == []
    assert settled_by(doubt(1), [ONE], by_our_id=False) == []
    assert settled_by(doubt(0, "SM1"), [ONE], by_our_id=False) == []
    assert settled_by(doubt(), [], by_our_id=False) == []


def test_a_doubt_is_shown_without_the_address() -> None:
    assert "4155550123" not in repr(doubt())


def test_what_bears_our_own_id_is_certain() -> None:
    assert settled_by(doubt(3, "SM1"), [ONE, OTHER], by_our_id=True) == [ONE, OTHER]


@pytest.mark.parametrize(("seconds", "covered"), [(-11, False), (-10, True), (0, True), (63, True), (64, False)])
def test_clocks_may_be_off_by_a_little(seconds: int, covered: bool) -> None:
    assert doubt().covers(NOW + timedelta(seconds=seconds)) is covered
