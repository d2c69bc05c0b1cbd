"""Addresses beyond ASCII are compared alike by Python and by PostgreSQL."""

import pytest

from relaypost_server.core.delivery import EventType
from relaypost_server.core.message import MessageState
from relaypost_server.core.suppression import comparable
from tests.receipts import event
from tests.store.records import record
from tests.store.test_suppressions import BOUNCED, Replica, bounce, replicas
from tests.store.webhooks import Store, connection, store

__all__ = ["connection", "replicas", "store"]
SPELLINGS = ["JOSÉ@example.com", "ΟΔΟΣ@example.com", "İpek@example.com", "ÄRGER@example.com"]


@pytest.mark.parametrize("address", SPELLINGS)
async def test_a_bounce_suppresses_an_address_in_upper_case(replicas: list[Replica], address: str) -> None:
    one, _ = replicas
    sent = record(state=MessageState.SENT, recipients=(address,))
    await one.log.append(sent)
    await one.deliveries.record([bounce(sent.id, comparable(address))])
    assert await one.among(address) == {address: BOUNCED}


@pytest.mark.parametrize("address", SPELLINGS)
async def test_a_receipt_names_an_address_in_upper_case(store: Store, address: str) -> None:
    await store.register(event_types=("message.bounced",))
    sent = await store.send(recipients=(address, "b@example.com"))
    await store.receipts.record([event(EventType.BOUNCED, message_id=sent.id, recipients=(comparable(address),))])
    [claimed] = await store.claim()
    assert claimed.event.data["receipt"]["recipients"] == [address]
