"""Exact amounts of money and dated price lists."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Self

from relaypost_server.core.value import value

MICROS = 1_000_000
"""Millionths in one unit of a currency."""


@value(frozen=True, slots=True, kw_only=True)
class Money:
    """`micros` millionths of one unit of `currency` (ISO 4217); at least 0."""

    micros: int
    currency: str = "USD"

    @classmethod
    def of(cls, amount: Decimal, currency: str = "USD") -> Self:
        """The amount in whole units, rounded to a millionth."""
        return cls(micros=round(amount * MICROS), currency=currency)

    def __mul__(self, count: int) -> "Money":
        return Money(micros=self.micros * count, currency=self.currency)

    def __add__(self, other: "Money") -> "Money":
        if self.currency != other.currency:
            raise ValueError(f"cannot add {other.currency} to {self.currency}")
        return Money(micros=self.micros + other.micros, currency=self.currency)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """Prices per unit (an email recipient, an SMS segment), true on `as_of`.

    Vendors change their prices, so every list is a setting and carries its date.
    """

    as_of: date
    default: Money | None = None
    by_country: Mapping[str, Money] = field(default_factory=dict)

    def price(self, country: str = "") -> Money | None:
        """The price for a country (ISO 3166-1 alpha-2), or None where none is known."""
        return self.by_country.get(country, self.default)
