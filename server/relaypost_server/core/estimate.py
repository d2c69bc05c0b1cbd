"""What messages would cost before anybody sends them."""

from collections.abc import Mapping
from dataclasses import dataclass

from relaypost_server.core.message import Channel, Email, Sms
from relaypost_server.core.money import Money, PriceList
from relaypost_server.core.segments import count_segments


@dataclass(frozen=True, slots=True)
class Estimator:
    """Prices by channel: those of the provider that is asked first. Free tiers are left out."""

    prices: Mapping[Channel, PriceList]

    def cost(self, content: Email | Sms) -> Money | None:
        """None where no price is known."""
        prices = self.prices.get(content.channel)
        if prices is None:
            return None
        price = prices.price(content.country)
        return price and price * units(content)


def units(content: Email | Sms) -> int:
    """What is charged for: recipients of an email, segments of a text message."""
    return count_segments(content.text).count if isinstance(content, Sms) else len(content.recipients)
