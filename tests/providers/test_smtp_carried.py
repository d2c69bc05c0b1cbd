"""Servers that close a connection after so many messages."""

import pytest

from relaypost_server.core.outcome import Kind
from relaypost_server.providers._smtp_carried import ONE_GOES_ON_OF, CarriedMessages
from tests import messages
from tests.fakes.smtp import Dialogue, fake_smtp
from tests.providers.configured import build

CLOSING = "421 4.7.0 maximum message count per session reached"


def test_nothing_is_known_at_first() -> None:
    assert not CarriedMessages().decide_to_close(1_000_000)


def test_connections_are_full_at_the_number_after_which_the_server_closed_one() -> None:
    learnt = CarriedMessages()
    learnt.closed_after(10)
    assert not learnt.decide_to_close(9)
    assert learnt.decide_to_close(10)
    learnt.closed_after(7)
    assert learnt.decide_to_close(7)


@pytest.mark.parametrize("status", ["4.3.2", "4.4.2"])
def test_a_shutdown_and_an_idle_time_teach_nothing(status: str) -> None:
    learnt = CarriedMessages()
    learnt.closed_after(1, status)
    assert not learnt.decide_to_close(1)


def test_a_number_that_is_too_low_is_forgotten_slowly() -> None:
    learnt = CarriedMessages()
    learnt.closed_after(1)
    connections = 0
    while learnt.most is not None and learnt.most < 100:
        carried = 0
        while True:
            carried += 1
            learnt.took(carried)
            if learnt.decide_to_close(carried):
                break
            if carried > 200:
                pytest.fail("one connection goes one message further, not on and on")
        connections += 1
    assert 6 * ONE_GOES_ON_OF < connections < 7 * ONE_GOES_ON_OF, "the seventh that went on made it 128"


@pytest.mark.parametrize("command", ["MAIL", "RSET"])
async def test_a_server_that_closes_after_so_many_messages_costs_nothing_and_is_learnt(command: str) -> None:
    def decide(dialogue: Dialogue) -> str | None:
        over = dialogue.began > 4 if command == "MAIL" else dialogue.began >= 4
        return CLOSING if dialogue.line.startswith(command) and over else None

    async with fake_smtp() as peer:
        peer.decide = decide
        provider = build("smtp", {"SMTP_HOST": "127.0.0.1", "RELAYPOST_SMTP_TLS": "none", "SMTP_PORT": str(peer.port)})
        outcomes = [await provider.send(messages.email(), timeout=6.0) for _ in range(30)]
        await provider.close()
    assert {o.kind for o in outcomes} == {Kind.ACCEPTED}
    assert (len(peer.received), peer.connections) == (30, 8)
    closed = sum(line.startswith(command) for line in peer.lines) - (30 if command == "MAIL" else 22)
    assert closed == 1, "it closed one connection, and was not asked for a fifth message again"
