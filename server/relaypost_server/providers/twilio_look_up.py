"""Finds a message in Twilio's list.

Contract: github.com/twilio/twilio-oai, api_v2010, ListMessage. The list tells neither the callback's URL nor anything
else of ours, so a message is told by its recipient, its sender and its time.
"""

from collections.abc import Sequence
from typing import Any

from relaypost_server.core.delivery import DeliveryEvent
from relaypost_server.core.look_ups import Doubt, LookUpError
from relaypost_server.providers.twilio_receipts import status_event

PAGE = 50
"""The latest messages to the recipient that are looked at, in one request."""


def find(client: Any, doubt: Doubt, senders: Sequence[str]) -> Sequence[DeliveryEvent]:
    """An event for each message that may be the one; blocking. Raises LookUpError.

    `senders`: the numbers and services of which one must have sent it.
    """
    # Imported here: the SDK takes a second to load, and only checks and look-ups use it.
    from requests.exceptions import RequestException
    from twilio.base.exceptions import TwilioException

    try:
        listed = list(client.messages.page(to=doubt.recipient, page_size=PAGE))
    except TwilioException as error:
        raise LookUpError(f"Twilio answered HTTP {_status(error)}") from error
    except (RequestException, ValueError, TypeError, AttributeError) as error:  # No answer, or no list in it.
        raise LookUpError(type(error).__name__) from error
    if len(listed) >= PAGE and all(m.date_created and m.date_created >= doubt.start_time for m in listed):
        raise LookUpError("too many messages to the recipient since then")
    return [_event(m, doubt) for m in listed if _may_be(m, doubt, senders)]


def _status(error: Any) -> object:
    """The SDK keeps the answer to a list in another place than other answers."""
    answer = error.args[1] if len(error.args) > 1 else error
    return getattr(answer, "status_code", getattr(error, "status", "?"))


def _may_be(message: Any, doubt: Doubt, senders: Sequence[str]) -> bool:
    return (
        message.to == doubt.recipient
        and message.direction == "outbound-api"
        and message.date_created is not None
        and doubt.covers(message.date_created)
        and (message.from_ in senders or message.messaging_service_sid in senders)
    )


def _event(message: Any, doubt: Doubt) -> DeliveryEvent:
    code = "" if message.error_code is None else str(message.error_code)
    return status_event(
        doubt.message_id,
        to=doubt.recipient,
        sid=str(message.sid),
        status=str(message.status),
        code=code,
        detail=message.error_message or "",
        time=message.date_updated or message.date_created,
        raw={"MessageSid": str(message.sid), "MessageStatus": str(message.status), "ErrorCode": code, "list": True},
    )
