"""One-time passwords: what is asked for, what is kept, and what follows from it."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256

from relaypost_server.core.limits import Charge, Rate, charges, prefix_of
from relaypost_server.core.message import Address, Channel, Guarantee
from relaypost_server.core.otp_codes import Bound, StoredCode
from relaypost_server.core.silence import Confirm, OtpSend
from relaypost_server.core.typed_numbers import digits_of

SHORTEST_CODE, LONGEST_CODE, USUAL_CODE = 4, 10, 6
SHORTEST_TTL, LONGEST_TTL, USUAL_TTL = 30.0, 3600.0, 300.0
"""Seconds."""
FAILURES = "failures"
"""The limit of wrong codes for one destination."""

_CODE = re.compile(r"[0-9]{4,10}")


class OtpOverError(Exception):
    """There is no living code of this name."""


class OtpNotVerifiedError(Exception):
    """Not the right code, or no code at all: nobody is told which."""


class OtpAttemptsUsedUpError(Exception):
    """The code was guessed at too often."""


class CountryNotAllowedError(Exception):
    """Codes are not sent to this country."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtpRequest:
    """What a caller asks for; every field is validated."""

    caller: str
    request_id: str = ""
    channel: Channel
    destination: str = field(repr=False)
    """An email address, or a number in E.164."""
    country: str = ""
    """ISO 3166-1 alpha-2 code of the number's country; "" for none."""
    purpose: str
    template: str
    locale: str = ""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    length: int = USUAL_CODE
    ttl: float = USUAL_TTL
    """Seconds."""
    guarantee: Guarantee = Guarantee.AT_LEAST_ONCE
    confirm_within: float | None = None
    """Seconds to wait for a sign that the message arrived; None not to wait."""
    sender: Address | None = None
    """Who an email comes from; None for the gateway's own."""
    sender_id: str | None = None
    """The name that the phone shows; None for none."""

    @property
    def prefix(self) -> str:
        """The block of numbers that the phone's belongs to; "" for email."""
        return prefix_of(self.destination) if self.channel is Channel.SMS else ""

    @property
    def reader(self) -> str:
        """Whose sends are counted together: an address has many spellings that reach the same person."""
        if self.channel is Channel.SMS:
            return self.destination
        local, _, domain = self.destination.rpartition("@")
        return f"{local.partition('+')[0].lower()}@{domain}"

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of all that is asked for, in hexadecimal digits. The code has no part in it."""
        asked = {name: value for name, value in asdict(self).items() if value is not None}
        return sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Otp:
    """A code that is kept, and the request that it was made for. Times are the database's."""

    id: str
    request: OtpRequest
    code: StoredCode
    sends: int
    """Messages that carry it, the one that is about to leave included."""
    last_send_time: datetime
    expire_time: datetime
    time_left: float
    """Seconds; 0 or less once its life is over."""

    @property
    def bound(self) -> Bound:
        """What the code belongs to."""
        return Bound(otp_id=self.id, purpose=self.request.purpose, destination=self.request.destination)

    def confirm(self, number: int) -> Confirm | None:
        """What is waited for after the send of this number."""
        within = self.request.confirm_within
        return Confirm(within=within, otp=OtpSend(otp_id=self.id, number=number)) if within else None

    def name_of_send(self, number: int) -> str:
        """Names a message that carries the code, the first one 1: whoever sends it claims this name."""
        return f"{self.id}.{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A code that one attempt has been taken from: what was typed may be compared, once."""

    id: str
    purpose: str
    channel: Channel
    destination: str = field(repr=False)
    country: str
    code: StoredCode

    @property
    def bound(self) -> Bound:
        """What the code belongs to."""
        return Bound(otp_id=self.id, purpose=self.purpose, destination=self.destination)


@dataclass(frozen=True, slots=True)
class OtpSpent:
    """Every attempt has been taken from the code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """Codes to one country that one provider carried last and that are over, and those that were verified."""

    channel: Channel
    provider: str
    country: str
    sent: int
    verified: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OtpPolicy:
    """The rules; each is a setting."""

    attempts: int = 5
    """Of one code."""
    cool_downs: tuple[float, ...] = (30.0, 60.0, 120.0)
    """Seconds to wait after the first send, the second, and so on; the last one repeats."""
    rotate: bool = False
    """Whether a resend makes a new code."""
    countries: frozenset[str] = frozenset()
    """Where text messages may go; everywhere where it is empty."""
    rates: Mapping[str, Rate] = field(
        default_factory=lambda: {
            "destination": Rate(most=5, seconds=600.0),
            "destination_day": Rate(most=10, seconds=86_400.0),
            "caller": Rate(most=1000, seconds=600.0),
            "client": Rate(most=20, seconds=600.0),
            "prefix": Rate(most=20, seconds=600.0),
            FAILURES: Rate(most=20, seconds=86_400.0),
        }
    )
    block_below: float = 0.1
    """A prefix is blocked whose conversion is lower, 0 to 1."""
    block_over: int = 50
    """The latest codes that the conversion is taken over; fewer say nothing."""
    block_seconds: float = 86_400.0
    """How far back they reach."""

    def cool_down(self, sends: int) -> float:
        """Seconds from one send to the next."""
        return self.cool_downs[min(sends, len(self.cool_downs)) - 1]

    def resend_time(self, otp: Otp) -> datetime:
        """From when the code may be sent again."""
        return otp.last_send_time + timedelta(seconds=self.cool_down(otp.sends))

    def allows(self, request: OtpRequest) -> bool:
        """Whether codes go to the destination's country."""
        return request.channel is Channel.EMAIL or not self.countries or request.country in self.countries

    def blocks(self, sent: int, verified: int) -> bool:
        """Whether the latest codes to a prefix look as if nobody waited for them."""
        return 0 < self.block_over <= sent and verified < self.block_below * sent

    def charges(self, request: OtpRequest, client: str) -> tuple[Charge, ...]:
        """What one send is counted under. `client`: the address of whoever asked the caller; "" for unknown."""
        events = {
            "destination": request.reader,
            "destination_day": request.reader,
            "caller": request.caller or "-",
            "client": client,
            "prefix": request.prefix,
        }
        return charges(events, self.rates)


def minutes(seconds: float) -> str:
    """A life in whole minutes, as a message tells it: never longer than it is, and at least 1."""
    return str(max(1, int(seconds // 60)))


def typed_code(text: str) -> str:
    """A typed code in ASCII digits; "" where it cannot be one."""
    code = digits_of(text)
    return code if _CODE.fullmatch(code) else ""
