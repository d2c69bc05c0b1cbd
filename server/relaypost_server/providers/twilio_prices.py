"""Prices of Twilio: it tells them when a message is looked at some minutes after it was sent, and in no callback.

Contract: github.com/twilio/twilio-oai, api_v2010, FetchMessage: `price` is a negative decimal or null, in `price_unit`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from relaypost_server.core.money import Money
from relaypost_server.core.price_ports import PricesUnavailableError, Unpriced

PAUSE_SECONDS = 0.2
"""Between two look-ups, so that sending keeps the account's concurrency to itself."""


class TwilioPrices:
    """Looks at one message at a time, in a thread."""

    def __init__(self, client: Callable[[], Any]) -> None:
        """`client`: makes the SDK's client; it is called in a thread."""
        self._client = client

    async def prices(self, sent: Sequence[Unpriced]) -> Mapping[str, Money]:
        """Those that are known; where Twilio fails, those that it told before. Raises PricesUnavailableError."""
        messages = await asyncio.to_thread(lambda: self._client().messages)
        found: dict[str, Money] = {}
        for number, each in enumerate(sent):
            try:
                price = await asyncio.to_thread(_price, messages, each.provider_message_id)
            except PricesUnavailableError:
                if not number:
                    raise
                break
            if price is not None:
                found[each.provider_message_id] = price
            await asyncio.sleep(PAUSE_SECONDS)
        return found


def _price(messages: Any, sid: str) -> Money | None:
    """None where there is none yet, or no such message; blocking."""
    from requests.exceptions import RequestException
    from twilio.base.exceptions import TwilioException

    try:
        message = messages(sid).fetch()
    except TwilioException as error:
        status = getattr(error, "status", None)
        if status == 404:
            return None
        raise PricesUnavailableError(f"Twilio answered HTTP {status}") from None
    except RequestException as error:
        raise PricesUnavailableError(type(error).__name__) from None
    try:
        return Money.of(abs(Decimal(message.price)), str(message.price_unit).upper()[:3])
    except (TypeError, ArithmeticError):
        return None
