"""What receipts add up to, in whatever order they come."""

from datetime import timedelta
from itertools import combinations_with_replacement, permutations

import pytest
from hypothesis import given, strategies as st

from relaypost_server.core.delivery import FINAL_STATES, DeliveryEvent, EventType, Standing, fold
from relaypost_server.core.message import MessageState
from tests.receipts import EARLY, event

SAYS_NOTHING = (EventType.OPENED, EventType.CLICKED, EventType.UNSUBSCRIBED, EventType.OTHER)


def state_after(*events: DeliveryEvent) -> MessageState | None:
    standing = fold(events)
    return None if standing is None else standing.state


@pytest.mark.parametrize(
    ("kinds", "state"),
    [
        ((EventType.SENT,), MessageState.SENT),
        ((EventType.SENT, EventType.DEFERRED), MessageState.DEFERRED),
        ((EventType.DEFERRED, EventType.DELIVERED), MessageState.DELIVERED),
        ((EventType.SENT, EventType.FAILED), MessageState.FAILED),
        ((EventType.FAILED, EventType.DELIVERED), MessageState.DELIVERED),
        ((EventType.DELIVERED, EventType.BOUNCED), MessageState.BOUNCED),
        ((EventType.DELIVERED, EventType.COMPLAINED), MessageState.COMPLAINED),
        ((EventType.BOUNCED, EventType.COMPLAINED), MessageState.COMPLAINED),
        ((EventType.DELIVERED, EventType.OPENED, EventType.CLICKED), MessageState.DELIVERED),
        (SAYS_NOTHING, None),
        ((), None),
    ],
)
def test_what_events_add_up_to(kinds: tuple[EventType, ...], state: MessageState | None) -> None:
    for order in permutations(kinds):
        assert state_after(*(event(kind) for kind in order)) is state


def test_a_soft_bounce_counts_only_where_nothing_was_delivered() -> None:
    soft, delivered = event(EventType.BOUNCED, permanent=False), event(EventType.DELIVERED)
    assert state_after(soft) is state_after(event(EventType.DEFERRED), soft) is MessageState.BOUNCED
    assert state_after(delivered, soft) is state_after(soft, delivered) is MessageState.DELIVERED
    assert state_after(soft, delivered, event(EventType.BOUNCED)) is MessageState.BOUNCED


def test_of_equals_the_earliest_tells_the_time() -> None:
    early, late = event(after=1), event(after=2)
    expected = Standing(state=MessageState.DELIVERED, rank=early.rank, time=EARLY + timedelta(seconds=1))
    assert fold([early, late]) == fold([late, early]) == expected


def test_every_order_of_any_five_events_ends_the_same() -> None:
    """All 3,003 choices of five kinds, each in all its orders; times go against the ranks and repeat."""
    kinds = [(k, True) for k in EventType] + [(EventType.BOUNCED, False)]
    events = {kind: event(kind[0], permanent=kind[1], after=number % 3) for number, kind in enumerate(kinds)}
    states = [kind for kind in kinds if events[kind].state is not None] + [(EventType.OPENED, True)]
    for chosen in combinations_with_replacement(states, 5):
        ends = {fold([events[kind] for kind in order]) for order in set(permutations(chosen))}
        assert len(ends) == 1, chosen


five_events = st.lists(
    st.builds(
        lambda kind, permanent, after: event(kind, permanent=permanent, after=after),
        st.sampled_from(EventType),
        st.booleans(),
        st.integers(0, 3),
    ),
    min_size=5,
    max_size=5,
)


@given(five_events)
def test_every_order_with_repeats_and_in_parts_ends_the_same(events: list[DeliveryEvent]) -> None:
    whole = fold(events)
    for order in permutations(events):
        assert fold(order) == whole
        assert fold([*order, *order[:2]]) == whole
        assert fold(order[2:], fold(order[:2])) == whole


@given(five_events)
def test_a_state_never_goes_back(events: list[DeliveryEvent]) -> None:
    standing: Standing | None = None
    for one in events:
        further = fold([one], standing)
        assert standing is None or (further is not None and further.rank >= standing.rank)
        standing = further


def test_what_a_provider_says_is_made_safe() -> None:
    made = event(detail="550 5.1.1 <ada@example.com> unknown\r\nX: y", provider_code="c" * 100, event_id="e\n" * 300)
    assert "ada" not in made.detail
    assert "\n" not in made.detail + made.event_id
    assert (len(made.provider_code), len(made.event_id)) == (64, 255)


def test_final_states_are_those_that_nothing_is_expected_to_follow() -> None:
    waited_for = {MessageState.SENT, MessageState.UNCONFIRMED, MessageState.DEFERRED}
    under_way = {MessageState.QUEUED, MessageState.SENDING}
    assert set(MessageState) - waited_for - under_way == FINAL_STATES
