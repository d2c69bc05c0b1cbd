"""A message as the log keeps it: everything but its text."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from relaypost_server.core.adjustments import MOST_ADJUSTMENTS, Adjustment
from relaypost_server.core.delivery import DeliveryEvent
from relaypost_server.core.failover import Attempt, Delivery, total_cost
from relaypost_server.core.message import Channel, Email, Guarantee, Message, MessageState, Sms
from relaypost_server.core.money import Money
from relaypost_server.core.value import value


@value(frozen=True, slots=True, kw_only=True)
class MessageRecord:
    """What was asked, what was tried, and what is known.

    Holds no subject, text or attachment: they may carry a one-time password.
    """

    id: str
    channel: Channel
    state: MessageState
    guarantee: Guarantee
    sender: str
    recipients: tuple[str, ...]
    caller: str = ""
    """The service that asked for it; "" for one that does not say who it is."""
    country: str = ""
    """ISO 3166-1 alpha-2 code of a phone's country; "" for none, and for email."""
    create_time: datetime
    update_time: datetime
    provider: str = ""
    provider_message_id: str = ""
    possible_duplicate: bool = False
    cost: Money | None = None
    tags: Mapping[str, str]
    metadata: Mapping[str, str]
    attempts: tuple[Attempt, ...] = ()
    events: tuple[DeliveryEvent, ...] = ()
    """What providers reported, by time; without what they said word for word."""
    adjustments: tuple[Adjustment, ...] = ()
    """What was changed in the message when it was read, then by the provider that took it."""


def record_at_start(message: Message[Email] | Message[Sms]) -> MessageRecord:
    """The record of a message for which nobody has been asked yet."""
    return _record(
        message,
        state=MessageState.SENDING,
        update_time=message.create_time,
        adjustments=_adjustments(message, None),
    )


def record_of(
    message: Message[Email] | Message[Sms],
    delivery: Delivery,
    update_time: datetime,
    earlier: tuple[Attempt, ...] = (),
) -> MessageRecord:
    """The record of a message whose walk has ended. `earlier`: the attempts of the walks before it."""
    accepted = delivery.accepted
    attempts = (*earlier, *delivery.attempts)
    return _record(
        message,
        state=delivery.verdict.state,
        update_time=update_time,
        provider=accepted.provider if accepted else "",
        provider_message_id=accepted.outcome.provider_message_id if accepted else "",
        possible_duplicate=delivery.verdict.possible_duplicate,
        cost=total_cost(attempts),
        attempts=attempts,
        adjustments=_adjustments(message, accepted),
    )


def _adjustments(message: Message[Email] | Message[Sms], accepted: Attempt | None) -> tuple[Adjustment, ...]:
    made = (*message.adjustments, *(accepted.outcome.adjustments if accepted else ()))
    return made[:MOST_ADJUSTMENTS]


def _record(message: Message[Email] | Message[Sms], **found: Any) -> MessageRecord:
    """What was asked, with what was found out."""
    content = message.content
    return MessageRecord(
        id=message.id,
        channel=content.channel,
        guarantee=message.guarantee,
        sender=content.sender.email if isinstance(content, Email) else content.sender_id or content.sender_number,
        recipients=content.recipients,
        caller=message.caller,
        country=content.country,
        create_time=message.create_time,
        tags=content.tags,
        metadata=message.metadata,
        **found,
    )
