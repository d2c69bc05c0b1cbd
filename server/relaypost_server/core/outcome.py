"""How one attempt at one provider can end, and what follows from it."""

import re
from dataclasses import dataclass
from enum import Enum, StrEnum

from relaypost_server.core.adjustments import Adjustment
from relaypost_server.core.message import Guarantee
from relaypost_server.core.money import Money
from relaypost_server.core.redaction import printable, safe_text
from relaypost_server.core.value import value

DETAIL_LIMIT = 200
"""Characters. Details ride in gRPC trailers, which fail as a whole beyond about 8 KiB."""
CODE_LIMIT = 64
PROVIDER_ID_LIMIT = 255
UNCONFIRMED_CODE = "UNCONFIRMED"
"""What the API and the log show in place of a provider's code for a recipient that is `unconfirmed`."""
_CODE = re.compile(r"[A-Za-z][\w.-]*|\d{2,5}(?: \d\.\d{1,3}\.\d{1,3})?", re.ASCII)
"""The shapes of error codes: a name, a number, or an SMTP reply code with its enhanced status code."""
_ID = re.compile(r"[!-?A-~]+")
"""The shape of providers' message ids: printable ASCII without a space or an "@"."""


class Kind(StrEnum):
    """The ten ways in which an attempt can end."""

    ACCEPTED = "accepted"
    SKIPPED = "skipped"
    UNREACHABLE = "unreachable"
    UNCONFIRMED = "unconfirmed"
    THROTTLED = "throttled"
    UNAUTHORIZED = "unauthorized"
    FAULTED = "faulted"
    UNSUPPORTED = "unsupported"
    DEFERRED = "deferred"
    REJECTED = "rejected"


class Next(Enum):
    """Whether the next provider is asked."""

    YES = "yes"
    NO = "no"
    IF_AT_LEAST_ONCE = "if_at_least_once"


class Effect(Enum):
    """What an outcome tells the provider's circuit breaker."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"
    """Proved nothing about the provider."""
    ACCOUNT_FAULT = "account_fault"
    """Every further call would fail as well: open at once."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What follows from one kind of outcome."""

    next_provider: Next
    effect: Effect
    caller_may_retry: bool


POLICY = {
    Kind.ACCEPTED: Policy(Next.NO, Effect.SUCCESS, False),
    Kind.SKIPPED: Policy(Next.YES, Effect.NEUTRAL, True),
    Kind.UNREACHABLE: Policy(Next.YES, Effect.FAILURE, True),
    Kind.FAULTED: Policy(Next.YES, Effect.FAILURE, True),
    Kind.UNCONFIRMED: Policy(Next.IF_AT_LEAST_ONCE, Effect.FAILURE, False),
    Kind.THROTTLED: Policy(Next.YES, Effect.NEUTRAL, True),
    Kind.UNAUTHORIZED: Policy(Next.YES, Effect.ACCOUNT_FAULT, False),
    Kind.UNSUPPORTED: Policy(Next.YES, Effect.NEUTRAL, False),
    Kind.DEFERRED: Policy(Next.YES, Effect.NEUTRAL, True),
    Kind.REJECTED: Policy(Next.NO, Effect.NEUTRAL, False),
}
"""The whole policy of the gateway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRecipient:
    """An address that a provider refused while it took the message for the others."""

    address: str
    provider_code: str
    temporary: bool
    """Another provider, or a later try, may reach it."""

    unconfirmed: bool = False
    """The provider took the message for others; whether it took it for this one as well is not known."""

    @property
    def shown_code(self) -> str:
        """The code that the API and the log show."""
        return UNCONFIRMED_CODE if self.unconfirmed else self.provider_code


@value(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a provider made of one message.

    Whatever a provider said is made safe to show here, in the one place that
    every answer passes.
    """

    kind: Kind
    detail: str = ""
    """The gateway's own words. Health, spans and logs show them to all callers and operators."""
    provider_text: str = ""
    """The provider's words. They may repeat the message, so only the attempt of that message shows them."""
    provider_code: str = ""
    """The provider's error code; "" if its answer holds none of a known shape."""
    provider_message_id: str = ""
    retry_after: float | None = None
    """Seconds to leave the provider alone; only for THROTTLED and SKIPPED."""
    cost: Money | None = None
    """Estimated; also of a message that may have been sent, for then it is billed."""
    billed: Money | None = None
    """What the provider itself said later that it cost."""
    price_later: bool = False
    """The provider tells the price when it is asked some time after."""
    units: int = 0
    """What is billed: the recipients of an email, the segments of a text message. 0 where nothing was sent."""
    segments: int = 0
    refused: tuple[RefusedRecipient, ...] = ()
    alert: bool = False
    """The gateway's own set-up is at fault, and an operator should know."""
    blames_recipient: bool = False
    """The provider says that the recipient does not exist. Where its word is not final, the kind is not REJECTED."""
    gone: tuple[str, ...] = ()
    """Recipients of whom the provider proved that they do not exist, whatever became of the others."""
    adjustments: tuple[Adjustment, ...] = ()
    """What the provider's adapter changed in the message."""
    opted_out: bool = False
    """REJECTED only: the recipient has asked this provider for no more messages."""
    neutral: bool = False
    """Counts as neither success nor failure, in place of the effect of its kind."""
    given_up_after: float | None = None
    """Seconds that the provider had when the attempt's time was over; None where something else ended the attempt."""

    def __post_init__(self) -> None:
        if self.detail:
            object.__setattr__(self, "detail", safe_text(self.detail, limit=DETAIL_LIMIT))
        if self.provider_text:
            object.__setattr__(self, "provider_text", safe_text(self.provider_text, limit=DETAIL_LIMIT))
        if self.provider_code:
            code = self.provider_code[:CODE_LIMIT]
            object.__setattr__(self, "provider_code", code if _CODE.fullmatch(code) else "")
        if self.provider_message_id:
            message_id = self.provider_message_id[:PROVIDER_ID_LIMIT]
            object.__setattr__(self, "provider_message_id", message_id if _ID.fullmatch(message_id) else "")

    @property
    def policy(self) -> Policy:
        return POLICY[self.kind]

    @property
    def effect(self) -> Effect:
        """What the circuit learns, unless the attempt's time was over: see `Breaker.effect_of_timeout`."""
        return Effect.NEUTRAL if self.neutral else self.policy.effect

    @property
    def operator_can_mend(self) -> bool:
        """Whether the gateway's own set-up or account may be all that kept the message from its recipients."""
        return self.alert or self.kind is Kind.UNAUTHORIZED

    @property
    def full_detail(self) -> str:
        """What the attempt of the caller's own message shows: the detail, then the provider's words."""
        if not self.provider_text:
            return self.detail
        words = f"{self.detail}: {self.provider_text}" if self.detail else self.provider_text
        return printable(words, limit=DETAIL_LIMIT)

    def left_over(self, guarantee: Guarantee) -> tuple[str, ...]:
        """Recipients of an accepted message for whom the next provider is asked.

        An unconfirmed recipient is among them with AT_LEAST_ONCE: a second copy is better than none.
        """
        with_unconfirmed = guarantee is Guarantee.AT_LEAST_ONCE
        return tuple(r.address for r in self.refused if r.temporary or (r.unconfirmed and with_unconfirmed))
