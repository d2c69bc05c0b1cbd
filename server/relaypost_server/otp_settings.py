"""The settings of one-time passwords."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from relaypost_server.addresses.phones import is_region
from relaypost_server.core.limits import Rate
from relaypost_server.core.otp import FAILURES, OtpPolicy
from relaypost_server.settings import Secret, Settings, prefixed

DAY_SECONDS = 86_400.0
MOST_TIMES = 10_000
"""Events that one limit may remember."""


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _countries(text: str) -> str:
    if not all(is_region(code) for code in _list(text)):
        raise ValueError("holds what is no ISO 3166-1 code such as US")
    return text


def _cool_downs(text: str) -> str:
    try:
        pauses = [float(part) for part in _list(text)]
    except ValueError:
        pauses = []
    if not pauses or not all(0 <= pause <= 3600 for pause in pauses):
        raise ValueError("is not a list of seconds such as 30,60,120, each at most 3600")
    return text


Most = Annotated[int, Field(ge=0, le=MOST_TIMES)]


class OtpSettings(Settings):
    """Codes are made, kept and limited as these say. A limit of 0 is none."""

    model_config = prefixed("otp")
    title: ClassVar = "One-time passwords"

    pepper: Annotated[Secret, Field(min_length=32)] | None = Field(
        None,
        description="a secret of 32 characters or more, the same for all gateways of a database, required in "
        "production; default: made once, and kept in the data directory",
    )
    previous_peppers: Secret | None = Field(
        None, description="earlier peppers, by commas: codes that were made with them can still be verified"
    )
    app: str = Field(
        "",
        max_length=40,
        description="the product's name where a caller gives none; default: OTP_FROM_NAME",
    )
    attempts: Annotated[int, Field(ge=1, le=100)] = Field(5, description="how often one code may be guessed at")
    rotate: bool = Field(False, description="true to make a new code for each resend; default false, the same code")
    cool_downs: Annotated[str, AfterValidator(_cool_downs)] = Field(
        "30,60,120", description="seconds to wait after the first send of a code, the second, and so on"
    )
    countries: Annotated[str, AfterValidator(_countries)] = Field(
        "", description="countries to whose phones codes may go, as in US,CA,DE; default: all"
    )
    window_seconds: Annotated[float, Field(ge=1, le=DAY_SECONDS)] = Field(
        600.0, description="what the limits of sends look back over, in seconds"
    )
    destination_sends: Most = Field(5, description="the most sends to one destination in that time")
    destination_daily_sends: Most = Field(10, description="the most sends to one destination in 24 hours")
    destination_daily_failures: Most = Field(20, description="the most wrong codes for one destination in 24 hours")
    caller_sends: Most = Field(1000, description="the most sends for one caller in the time of the window")
    client_sends: Most = Field(20, description="the most sends for one client address in the time of the window")
    prefix_sends: Most = Field(20, description="the most sends to phones with the same 7 digits in that time")
    block_below: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="a prefix is blocked whose part of verified codes is lower, 0 to 1"
    )
    block_over: Most = Field(50, description="over so many of its latest codes of 24 hours; fewer say nothing")
    conversion_hours: Annotated[float, Field(ge=1, le=72)] = Field(
        24.0, description="what the conversion by provider and country looks back over, in hours"
    )

    @property
    def policy(self) -> OtpPolicy:
        return OtpPolicy(
            attempts=self.attempts,
            cool_downs=tuple(float(part) for part in _list(self.cool_downs)),
            rotate=self.rotate,
            countries=frozenset(_list(self.countries)),
            rates={
                "destination": Rate(most=self.destination_sends, seconds=self.window_seconds),
                "destination_day": Rate(most=self.destination_daily_sends, seconds=DAY_SECONDS),
                "caller": Rate(most=self.caller_sends, seconds=self.window_seconds),
                "client": Rate(most=self.client_sends, seconds=self.window_seconds),
                "prefix": Rate(most=self.prefix_sends, seconds=self.window_seconds),
                FAILURES: Rate(most=self.destination_daily_failures, seconds=DAY_SECONDS),
            },
            block_below=self.block_below,
            block_over=self.block_over,
            block_seconds=DAY_SECONDS,
        )

    @property
    def earlier_peppers(self) -> tuple[str, ...]:
        return _list(self.previous_peppers.get_secret_value()) if self.previous_peppers else ()
