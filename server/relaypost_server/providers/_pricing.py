"""Puts estimated prices on messages that were, or may have been, sent."""

from relaypost_server.core.message import Sms
from relaypost_server.core.money import Money, PriceList
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.segments import count_segments
from relaypost_server.core.value import replace

_BILLED = frozenset({Kind.ACCEPTED, Kind.UNCONFIRMED})
"""What may have been sent may be billed as well."""


def priced(outcome: Outcome, prices: PriceList, recipients: int) -> Outcome:
    """An email's outcome with what is billed, and its price where one is known."""
    if outcome.kind not in _BILLED:
        return outcome
    units, price = recipients - len(outcome.refused), prices.price()
    return replace(outcome, units=units, cost=price and price * units)


def with_price_later(outcome: Outcome) -> Outcome:
    """The outcome of a provider that will tell the price of what it accepted."""
    if outcome.kind is not Kind.ACCEPTED or not outcome.provider_message_id:
        return outcome
    return replace(outcome, price_later=True)


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
        """The outcome with its segments and, where the message may be billed, its price."""
        if outcome.kind is Kind.SKIPPED:
            return outcome
        if outcome.kind not in _BILLED:
            return replace(outcome, segments=self.segments)
        return replace(outcome, segments=self.segments, units=self.segments, cost=self.cost)


def _amount(money: Money) -> str:
    return f"{money.micros / 1_000_000:f} {money.currency}"
