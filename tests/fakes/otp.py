"""One-time passwords for tests: a database that is away, and codes that are read off fake providers."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, NoReturn

from relaypost_server.core.message import Address
from relaypost_server.core.otp import Conversion, OtpPolicy
from relaypost_server.core.otp_codes import Peppers
from relaypost_server.core.ports import LogUnavailableError, OtpStore
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.otp import Otps
from relaypost_server.flow.otp_messages import OtpComposer
from relaypost_server.templates.check import open_templates
from relaypost_server.templates.render import Templates
from tests.fakes.providers import Rig

PEPPER = "0123456789abcdef" * 2


@cache
def built_in() -> Templates:
    """The templates that come with the gateway."""
    return open_templates(None, "en")


class NoOtps:
    """An `OtpStore` whose database is away."""

    async def create(self, *_: Any, **__: Any) -> NoReturn:
        raise LogUnavailableError

    find = resend = guess = use = cancel = create

    async def sweep(self, *, retention: float) -> None:
        raise LogUnavailableError

    async def conversions(self, *, window: float) -> Sequence[Conversion]:
        raise LogUnavailableError


def otps(
    store: OtpStore,
    emails: Rig,
    texts: Rig,
    templates: Templates,
    policy: OtpPolicy,
    sender: Address | None = None,
    peppers: Peppers | None = None,
) -> Otps:
    """The flow of codes over two channels of fake providers."""
    return Otps(
        store,
        peppers or Peppers(PEPPER),
        policy,
        OtpComposer(templates, sender=sender, app="Acme"),
        emails=emails.sender,
        texts=texts.sender,
        metrics=emails.metrics,
        clock=Clock(),
    )


def code_in(message: Any) -> str:
    """The code in a message that a provider received."""
    return code_of(message.content.text)


def code_of(text: str) -> str:
    """The code in a text."""
    found = re.search(r"\b[0-9]{4,10}\b", text)
    assert found is not None
    return found.group()


def other_than(code: str) -> str:
    """A wrong code of the same length."""
    return f"{(int(code) + 1) % 10 ** len(code):0{len(code)}}"
