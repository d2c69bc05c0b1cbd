"""Puts estimated prices on accepted messages."""

from dataclasses import replace

from relaypost_server.core.message import Sms
from relaypost_server.core.money import Money, PriceList
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.segments import count_segments


def priced(outcome: Outcome, prices: PriceList, recipients: int) -> Outcome:
    """An email's outcome with its price, where the email was accepted and a price is known."""
    price = prices.price()
    if outcome.kind is not Kind.ACCEPTED or price is None:
        return outcome
    return replace(outcome, cost=price * (recipients - len(outcome.refused)))


class SmsQuote:
    """What a text message will cost at one provider, as far as is known."""

    __slots__ = ("cost", "segments")

    def __init__(self, sms: Sms, prices: PriceList) -> None:
        self.segments = count_segments(sms.text).count
        price = prices.price(sms.country)
        self.cost: Money | None = price and price * self.segments

    def refusal(self, limit: Money | None) -> Outcome | None:
        """The outcome where the message would, or might, cost more than its caller allows."""
        if limit is None:
            return None
        if self.cost is None:
            return Outcome(kind=Kind.UNSUPPORTED, detail="a max_price is set, and no price for the country is known")
        if self.cost.micros > limit.micros:
            detail = f"estimated at {_amount(self.cost)}, over the max_price of {_amount(limit)}"
            return Outcome(kind=Kind.UNSUPPORTED, detail=detail)
        return None

    def on(self, outcome: Outcome) -> Outcome:
        """The outcome with its segments and, where the message was accepted, its price."""
        cost = self.cost if outcome.kind is Kind.ACCEPTED else None
        return replace(outcome, segments=self.segments, cost=cost)


def _amount(money: Money) -> str:
    return f"{money.micros / 1_000_000:f} {money.currency}"
