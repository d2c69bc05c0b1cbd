"""How settings are declared, read from the environment, and complained about.

A settings class is a pydantic model whose fields bear the names of environment
variables as aliases and explain themselves in their descriptions: a mistake is
reported with the description as its cure, and the reference in `docs/` is
written from the same words.
"""

import difflib
import json
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from importlib import import_module
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from relaypost_server.core.money import Money, PriceList
from relaypost_server.core.senders import is_sender_id, is_sender_number
from relaypost_server.core.tariffs import FreeTier, Period
from relaypost_server.core.urls import check_endpoint, check_host
from relaypost_server.core.webhook_targets import networks

PREFIX = "RELAYPOST_"
LARGEST_AMOUNT = 1_000_000_000
"""US dollars."""
_COUNTRY = re.compile(r"[A-Z]{2}")
_FREE_TIER = re.compile(r"(?P<units>\d{1,12})/(?P<per>day|month)(?: until (?P<until>\d{4}-\d{2}-\d{2}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake in the settings, and its cure. Never holds a value, which may be a secret."""

    setting: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.what}\n    {self.fix}"


class SettingsError(Exception):
    """Every mistake that was found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        title = f"{count} {'mistake' if count == 1 else 'mistakes'} in the settings"
        super().__init__("\n".join([title, *(f"  {p}" for p in self.problems)]))


class Settings(BaseModel):
    """The base of all settings: frozen, read by environment name, silent about values."""

    title: ClassVar = ""
    """A heading for people."""
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, arbitrary_types_allowed=True)


def prefixed(*parts: str) -> ConfigDict:
    """Names a class's variables "RELAYPOST_" + parts + the field's name, all in upper case."""
    prefix = "".join(f"{part}_" for part in parts)
    return ConfigDict(alias_generator=lambda name: f"{PREFIX}{prefix}{name}".upper())


S = TypeVar("S", bound=Settings)


def read(model: type[S], environ: Mapping[str, str]) -> tuple[S | None, list[Problem]]:
    """The settings, or None and what is wrong with them. A blank variable counts as not set."""
    try:
        return model.model_validate({k: v for k, v in environ.items() if v.strip()}), []
    except ValidationError as error:
        return None, [_problem(model, e["loc"], e["msg"]) for e in error.errors(include_url=False)]


def variables(model: type[Settings]) -> dict[str, FieldInfo]:
    """The environment variables of a settings class, in the order of its fields."""
    return {_alias(field, name): field for name, field in model.model_fields.items()}


def unknown(environ: Mapping[str, str], models: Iterable[type[Settings]]) -> list[Problem]:
    """A problem for each RELAYPOST_ variable that no settings class knows: most are typing errors."""
    known = {name for model in models for name in variables(model)}
    return [
        Problem(setting=name, what="there is no such setting", fix=_guess(name, known))
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in known
    ]


def _alias(field: FieldInfo, name: str) -> str:
    return field.alias or name


def _guess(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]}?" if close else "Remove it, or see docs/settings.md for all names."


def _problem(model: type[Settings], location: tuple[int | str, ...], message: str) -> Problem:
    name = str(location[0]) if location else model.__name__
    field = variables(model).get(name)
    fix = f"Set it to: {field.description}" if field and field.description else "See docs/settings.md."
    message = message.removeprefix("Value error, ")
    return Problem(setting=name, what=message[0].lower() + message[1:], fix=fix)


def _price_list(value: Any) -> PriceList:
    """Reads {"as_of": "2026-07-01", "default": "0.03", "US": "0.00645"}; prices in USD."""
    if isinstance(value, PriceList):
        return value
    try:
        table = json.loads(value)
        as_of = date.fromisoformat(table.pop("as_of"))
        prices = {country: _price(amount) for country, amount in table.items()}
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError):
        raise ValueError("is not a price list") from None
    return PriceList(as_of=as_of, default=prices.pop("default", None), by_country=prices)


def _price(amount: str) -> Money:
    price = Decimal(amount)
    if not 0 <= price <= 1000:
        raise ValueError
    return Money.of(price)


def _senders(value: Any) -> Mapping[str, str]:
    """Reads {"IN": "ACMEIN", "US": "+14155550100"}: countries by ISO 3166-1, and a name or number for each."""
    try:
        table = json.loads(value) if isinstance(value, str) else dict(value)
        known = all(_COUNTRY.fullmatch(country) and _is_sender(sender) for country, sender in table.items())
    except (ValueError, TypeError, AttributeError, RecursionError):
        known = False
    if not known:
        raise ValueError('is not a list of senders such as {"IN": "ACMEIN", "US": "+14155550100"}')
    return table


def _is_sender(text: str) -> bool:
    return is_sender_id(text) or is_sender_number(text)


def dollars(value: Any) -> Money:
    """Reads an amount such as "50" or "12.50"."""
    if isinstance(value, Money):
        return value
    try:
        amount = Decimal(value)
    except (ValueError, TypeError, ArithmeticError):
        amount = Decimal(-1)
    if not amount.is_finite() or not 0 <= amount <= LARGEST_AMOUNT:
        raise ValueError("is not an amount such as 50 or 12.50")
    return Money.of(amount)


def _free_tier(value: Any) -> FreeTier:
    """Reads "62000/month", "500/day" and "1000/month until 2027-06-30"."""
    if isinstance(value, FreeTier):
        return value
    found = _FREE_TIER.fullmatch(value.strip())
    if found is None:
        raise ValueError("is not of the form 62000/month, 500/day or 1000/month until 2027-06-30")
    try:
        until = date.fromisoformat(found["until"]) if found["until"] else None
    except ValueError:
        raise ValueError("ends on a day that does not exist") from None
    return FreeTier(units=int(found["units"]), per=Period(found["per"]), until=until)


def _endpoint(value: str) -> str:
    check_endpoint(value)
    return value.rstrip("/")


def listed(text: str) -> tuple[str, ...]:
    """The parts of a list that is separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _networks(text: str) -> str:
    try:
        networks(listed(text))
    except ValueError:
        raise ValueError("must be a list of addresses or networks such as 10.0.0.0/8") from None
    return text


def _host(value: str) -> str:
    check_host(value)
    return value


def _one_line(value: SecretStr) -> SecretStr:
    """A secret travels in a header: a line break in it would begin another."""
    if not value.get_secret_value().isprintable():
        raise ValueError("holds a control character")
    return value


def _verification_key(value: str) -> str:
    """A public key as a line of base64, whose PEM armour, if any, is taken off."""
    line = "".join(part for part in value.replace("\\n", "\n").split("\n") if "-----" not in part).strip()
    keys: Any = import_module("cryptography.hazmat.primitives.serialization")  # Of use to this setting alone.
    try:
        keys.load_der_public_key(b64decode(line, validate=True))
    except (ValueError, import_module("cryptography.exceptions").UnsupportedAlgorithm):
        raise ValueError("is not a public key in base64") from None
    return line


Secret = Annotated[SecretStr, AfterValidator(_one_line)]
VerificationKey = Annotated[str, AfterValidator(_verification_key)]
Dollars = Annotated[Money, BeforeValidator(dollars)]
FreeUnits = Annotated[FreeTier, BeforeValidator(_free_tier)]
Prices = Annotated[PriceList, BeforeValidator(_price_list)]
SendersByCountry = Annotated[Mapping[str, str], BeforeValidator(_senders)]
NetworkList = Annotated[str, AfterValidator(_networks)]
HostName = Annotated[str, AfterValidator(_host)]
Endpoint = Annotated[str, BeforeValidator(_endpoint)]
PricesAMinute = Annotated[int, Field(ge=0, le=3000)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Window = Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)]
"""Seconds between now and the time that a callback was signed at."""
