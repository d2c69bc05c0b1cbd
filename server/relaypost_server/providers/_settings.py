"""The settings that every provider has."""

from collections.abc import Mapping
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field

from relaypost_server.core.breaker import BreakerPolicy
from relaypost_server.core.budgets import Budget
from relaypost_server.core.proxies import Proxy, bypasses, parse_proxy
from relaypost_server.settings import Dollars, FreeUnits, Problem, Seconds, Secret, Settings

_HTTPS: Final = 443


class ProviderSettings(Settings):
    """A provider's place in its chain, its time-outs, and when its circuit opens."""

    enabled: bool | None = Field(
        None, description="true (it must be configured), false (never used); default: used where configured"
    )
    priority: Annotated[int, Field(ge=1, le=1000)] = Field(
        100, description="its place in the chain, from 1 (asked first) to 1000"
    )
    timeout_seconds: Seconds = Field(10.0, description="the longest that one attempt may take, in seconds")
    connect_timeout_seconds: Seconds = Field(
        3.0,
        description="the longest that connecting may take, name look-up and TLS included, or waiting for a free "
        "connection, in seconds",
    )
    pool_size: Annotated[int, Field(ge=1, le=10_000)] = Field(
        100, description="the most connections open at once, 1 to 10000"
    )
    rate: Annotated[float, Field(ge=0, le=100_000)] = Field(
        0.0, description="messages a second that workers send of the queue, over all of them; 0: as many as they can"
    )
    breaker_failures: Annotated[int, Field(ge=1, le=1000)] = Field(
        5, description="consecutive failures that open the circuit, 1 to 1000"
    )
    breaker_open_seconds: Seconds = Field(60.0, description="how long an open circuit stays open, in seconds")
    breaker_successes: Annotated[int, Field(ge=1, le=1000)] = Field(
        2, description="successful probes that close a half-open circuit, 1 to 1000"
    )
    breaker_rate: Annotated[float, Field(gt=0, le=2)] = Field(
        0.5, description="the part of failed calls that opens the circuit, above 0 to 1; 2 switches the rule off"
    )
    breaker_rate_calls: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        20, description="the fewest recent calls that say anything about a rate"
    )
    breaker_rate_seconds: Seconds = Field(30.0, description="how far recent calls reach back, in seconds")
    breaker_escalate: bool = Field(
        False, description="true to double the open time with each reopening, up to 300 s; default false"
    )

    @property
    def configured(self) -> bool:
        """Whether everything that the provider needs is set."""
        raise NotImplementedError

    def problems(self) -> list[Problem]:
        """What is set by halves, or contradicts itself."""
        return []

    def enabled_by_halves(self) -> list[Problem]:
        """The problem of a provider that is switched on and not set up."""
        if self.enabled is not True or self.configured:
            return []
        fix = str(type(self).__doc__)
        return [Problem(setting=self._name("enabled"), what="is true, but the rest is missing", fix=fix)]

    def _name(self, field: str) -> str:
        """The environment variable of a field without a name of its own."""
        name = type(self).model_config["alias_generator"]
        return name(field) if callable(name) else ""

    def breaker_policy(self) -> BreakerPolicy:
        return BreakerPolicy(
            failures_to_open=self.breaker_failures,
            open_seconds=self.breaker_open_seconds,
            successes_to_close=self.breaker_successes,
            rate_to_open=self.breaker_rate,
            rate_calls=self.breaker_rate_calls,
            rate_seconds=self.breaker_rate_seconds,
            escalate=self.breaker_escalate,
        )


class PaidProviderSettings(ProviderSettings):
    """What providers have in common that may charge for messages. Their prices are settings of their own."""

    free_tier: FreeUnits | None = Field(
        None,
        description="units that cost nothing, as in 62000/month, 500/day or 1000/month until 2027-06-30: recipients "
        "of emails, segments of text messages; default: none",
    )
    budget_soft: Dollars | None = Field(
        None, description="USD a month after which an alert is raised and the other providers are asked first"
    )
    budget_hard: Dollars | None = Field(
        None, description="USD a month after which the provider is passed over until the month ends, by UTC"
    )

    @property
    def budget(self) -> Budget | None:
        if self.budget_soft is None and self.budget_hard is None:
            return None
        return Budget(soft=self.budget_soft, hard=self.budget_hard)

    def problems(self) -> list[Problem]:
        if self.budget_soft is None or self.budget_hard is None or self.budget_soft.micros <= self.budget_hard.micros:
            return []
        fix = "Set it to less than that, or unset one."
        return [Problem(setting=self._name("budget_soft"), what="is over the hard budget", fix=fix)]


class ProxiedProviderSettings(PaidProviderSettings):
    """A provider for which something is asked by HTTPS, and so perhaps through a proxy."""

    https_proxy: Secret | None = Field(
        None,
        alias="HTTPS_PROXY",
        description="the proxy through which providers are reached by HTTPS, for all of them, as in "
        "http://user:password@proxy.example.com:3128; also https_proxy; default: none",
    )
    no_proxy: str | None = Field(
        None,
        alias="NO_PROXY",
        description="hosts that are reached without that proxy, separated by commas: names (with all below them), "
        "addresses, networks such as 10.0.0.0/8, each also with :port, or * for all; also no_proxy",
    )

    def problems(self) -> list[Problem]:
        """A proxy that cannot be used is a mistake where a provider is to be reached through it, and only there."""
        problems = super().problems()
        if self.https_proxy is not None and self.asks_by_https:
            try:
                parse_proxy(self.https_proxy.get_secret_value())
            except ValueError as error:
                fix = "Set it to the proxy through which providers are reached by HTTPS, or unset it."
                problems.append(Problem(setting="HTTPS_PROXY", what=str(error), fix=fix))
        return problems

    @property
    def over_https(self) -> Mapping[str, str]:
        """What is asked by HTTPS if the provider is configured: URLs by what is there, "" for the provider itself."""
        raise NotImplementedError

    @property
    def asks_by_https(self) -> bool:
        """Whether anything is asked by HTTPS."""
        return self.configured and bool(self.over_https)

    def proxy_for(self, url: str) -> Proxy | None:
        """The proxy for a URL; None where there is none, or the URL is exempt."""
        parts = urlsplit(url)
        if self.https_proxy is None or parts.scheme != "https":
            return None
        if bypasses(parts.hostname or "", parts.port or _HTTPS, self.no_proxy or ""):
            return None
        return parse_proxy(self.https_proxy.get_secret_value())


class HttpsProviderSettings(ProxiedProviderSettings):
    """A provider that is reached by HTTPS."""

    @property
    def base_url(self) -> str:
        """Where the provider is reached, without a path of its API."""
        raise NotImplementedError

    @property
    def over_https(self) -> Mapping[str, str]:
        return {"": self.base_url}


def missing(setting: str, because: str) -> Problem:
    """The problem of a setting that another one makes necessary."""
    return Problem(setting=setting, what="is missing", fix=f"Set it, for {because}; or remove that.")


def aws_problems(environ: Mapping[str, str]) -> list[Problem]:
    """Half a set of AWS variables would silently leave SES and SNS out."""
    key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    problems = []
    if key and not environ.get("AWS_REGION"):
        problems.append(missing("AWS_REGION", "AWS_ACCESS_KEY_ID is set"))
    if key and not secret:
        problems.append(missing("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID is set"))
    if secret and not key:
        problems.append(missing("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY is set"))
    return problems
