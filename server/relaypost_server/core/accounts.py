"""What an operator may ask of the accounts behind providers."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from relaypost_server.core.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderIdentity:
    """Whether emails may be sent from an address."""

    identity: str
    """What the provider knows: the address, or its domain."""
    verified: bool
    requested: bool = False
    """The provider has just been asked to verify the address, and sends its owner a link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingQuota:
    """How much email the account may send."""

    most_a_day: float | None
    """Recipients in any 24 hours; None for no limit."""
    most_a_second: float
    sent_in_a_day: float
    """Recipients in the last 24 hours."""
    sending_enabled: bool
    production: bool
    """False: the account is in the sandbox, and reaches verified recipients only."""
    enforcement: str
    """The provider's own word, for example "HEALTHY"."""
    plan: str
    """The provider's name of the pricing plan; "" where it does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsSpend:
    """What the account has spent on text messages since the month began."""

    spent: Money | None
    """None: the provider has published no figure, which does not mean 0."""
    spent_time: datetime | None
    """When the figure was taken."""
    limit: Money | None
    """That the account set itself; None: none, the provider's own holds."""


class AccountTrouble(StrEnum):
    """Why an account did not do as it was asked."""

    NOT_CONFIGURED = "not_configured"
    """The gateway has no provider that could be asked."""
    REFUSED = "refused"
    """The provider refused: credentials, permissions, or the value."""
    UNAVAILABLE = "unavailable"
    """The provider is out of reach, failed, or asks for patience."""


class AccountError(Exception):
    """An account did not do as it was asked. Holds nothing that must not be shown."""

    def __init__(self, trouble: AccountTrouble, *, provider: str, code: str = "", detail: str = "") -> None:
        super().__init__(detail)
        self.trouble = trouble
        self.provider = provider
        self.code = code
        """The provider's own, for example "AccessDeniedException"."""


@runtime_checkable
class EmailAccount(Protocol):
    """The further talent of some email providers. Its methods block, and raise AccountError."""

    def verify_sender(self, address: str) -> SenderIdentity:
        """Whether the address may be sent from; where it is unknown, has it verified."""
        ...

    def sending_quota(self) -> SendingQuota: ...


@runtime_checkable
class SmsAccount(Protocol):
    """The further talent of some SMS providers. Its methods block, and raise AccountError."""

    def sms_spend(self) -> SmsSpend: ...

    def set_monthly_spend_limit(self, limit: Money) -> None:
        """`limit`: whole US dollars."""
        ...
