"""Everything that can be set, read once at the start, every mistake reported at once."""

import os
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from dotenv import dotenv_values
from platformdirs import user_data_path
from pydantic import AfterValidator, Field, SecretStr

from relaypost_server.addresses import parse_email
from relaypost_server.budget_settings import BudgetSettings
from relaypost_server.core.budgets import Budgets
from relaypost_server.core.message import Address
from relaypost_server.core.suppression import SuppressionPolicy
from relaypost_server.core.tariffs import NO_TIER, Tariff
from relaypost_server.delivery_settings import DeliverySettings
from relaypost_server.flow.dispatch import Limits
from relaypost_server.otp_settings import OtpSettings
from relaypost_server.providers import PROVIDERS
from relaypost_server.providers._settings import PaidProviderSettings, ProviderSettings, aws_problems
from relaypost_server.settings import Problem, Seconds, Settings, SettingsError, prefixed, read, unknown
from relaypost_server.telemetry.logs import LogFormat
from relaypost_server.templates.locales import known_tag
from relaypost_server.webhook_settings import WebhookSettings

ENV_FILE = "RELAYPOST_ENV_FILE"
MIB = 1024 * 1024


class Environment(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


class WithoutDatabase(StrEnum):
    """What becomes of a request with a request_id while the database is away."""

    REFUSE = "refuse"
    SEND = "send"


def _host_and_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("is not of the form host:port")
    return value


def _data_dir() -> Path:
    """Root's own directories are closed to the unprivileged user that PostgreSQL must run as."""
    return Path("/var/lib/relaypost") if os.geteuid() == 0 else user_data_path("relaypost")


ListenAddress = Annotated[str, AfterValidator(_host_and_port)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class GatewaySettings(Settings):
    """The gateway listens, keeps its log, and shares out time as these say."""

    model_config = prefixed()
    title: ClassVar = "The gateway"

    environment: Environment = Field(
        Environment.DEVELOPMENT,
        alias="RELAYPOST_ENV",
        description="development or production, where messages are never printed instead of sent",
    )
    env_file: Path | None = Field(None, description="a file of further variables, which the environment outweighs")
    grpc_address: ListenAddress = Field("127.0.0.1:50051", description="host:port where gRPC is served; port 0: any")
    http_address: ListenAddress = Field(
        "127.0.0.1:8080", description="host:port where health, metrics and callbacks are served; port 0: any"
    )
    database_url: SecretStr | None = Field(
        None, description="postgresql://user:password@host/database; default: the bundled PostgreSQL"
    )
    data_dir: Path = Field(
        default_factory=_data_dir, description="where the bundled PostgreSQL keeps its files; default: the user's own"
    )
    spool_dir: Path | None = Field(
        None, description="where records wait on disk while the database is away; default: spool in the data directory"
    )
    spool_max_bytes: Annotated[int, Field(ge=MIB, le=1024 * 1024 * MIB)] = Field(
        1024 * MIB, description="the most bytes that may wait there, some 700 for each message; default 1 GiB"
    )
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = Field(
        45.0, description="how long a gateway that died holds its requests with a request_id, in seconds"
    )
    request_retention_hours: Annotated[float, Field(ge=1, le=8760)] = Field(
        72.0, description="how long a request_id is remembered, in hours"
    )
    keyed_without_database: WithoutDatabase = Field(
        WithoutDatabase.REFUSE,
        description="refuse, or send requests with a request_id that cannot be proven new, which may send twice",
    )
    suppression_automatic: bool = Field(
        True,
        description="false to leave the suppression list to people: bounces, complaints and opt-outs add nothing to it",
    )
    suppression_refresh_seconds: Annotated[float, Field(ge=0.1, le=3600)] = Field(
        2.0, description="how long a gateway may not know what another has put on the suppression list, in seconds"
    )
    suppression_bounce_days: Annotated[float, Field(gt=0, le=36_500)] | None = Field(
        None, description="how long a hard bounce suppresses an address, in days; default: for ever"
    )
    auto_migrate: bool = Field(True, description="false to leave the database's schema to `relaypost migrate`")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    log_format: LogFormat = Field(
        LogFormat.AUTO, description="json, console, or auto, which chooses console for a terminal"
    )
    from_email: Annotated[str, AfterValidator(parse_email)] | None = Field(
        None, alias="OTP_FROM_EMAIL", description="the sender of emails that name none, as in noreply@example.com"
    )
    from_name: str = Field("", alias="OTP_FROM_NAME", max_length=128, description="the name beside OTP_FROM_EMAIL")
    templates_dir: Path | None = Field(
        None, description="a directory of templates, beside and instead of the built-in ones; see docs/templates.md"
    )
    default_locale: Annotated[str, AfterValidator(known_tag)] = Field(
        "en", description="the language of templates for readers whose own is missing, as in en or pt-BR"
    )
    default_deadline_seconds: Seconds = Field(
        15.0, description="how long a send may take for a caller without a deadline, in seconds"
    )
    longest_deadline_seconds: Seconds = Field(30.0, description="how long any send may take, in seconds")
    shortest_attempt_seconds: Seconds = Field(
        1.0, description="an attempt that would get less time than this is not started, in seconds"
    )
    retry_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="second tries at a provider that was out of reach, as a part of all messages, 0 to 1"
    )
    max_attachment_bytes: Annotated[int, Field(ge=0, le=40 * MIB)] = Field(
        20 * MIB, description="the most bytes of all attachments of an email together, 0 to 41943040"
    )
    max_request_bytes: Annotated[int, Field(ge=MIB, le=512 * MIB)] = Field(
        64 * MIB, description="the most bytes of a request; a larger one is refused unread"
    )
    max_concurrent_streams: Count = Field(1000, description="the most calls in flight on one connection")
    max_concurrent_calls: Count = Field(2000, description="the most calls in flight; more are refused at once")
    max_pending_calls: Count = Field(1000, description="the most calls that wait to be taken on")
    shutdown_delay_seconds: Annotated[float, Field(ge=0, le=300)] = Field(
        3.0, description="how long to go on serving after SIGTERM, while load balancers look elsewhere, in seconds"
    )
    shutdown_grace_seconds: Seconds = Field(25.0, description="how long calls in flight may take to end, in seconds")

    @property
    def default_sender(self) -> Address | None:
        return Address(email=self.from_email, name=self.from_name) if self.from_email else None

    @property
    def suppress(self) -> SuppressionPolicy | None:
        """On which terms what providers tell of suppresses an address; None: it does not."""
        if not self.suppression_automatic:
            return None
        days = self.suppression_bounce_days
        return SuppressionPolicy(bounce_seconds=days and days * 86_400.0)

    @property
    def spool(self) -> Path:
        return self.spool_dir or self.data_dir / "spool"

    @property
    def limits(self) -> Limits:
        return Limits(
            default_deadline=self.default_deadline_seconds,
            longest_deadline=self.longest_deadline_seconds,
            shortest_attempt=self.shortest_attempt_seconds,
        )


@dataclass(frozen=True, slots=True)
class ChosenProvider:
    """A provider that takes part, and its settings."""

    kind: type[Any]
    settings: ProviderSettings

    def build(self) -> Any:
        return self.kind(self.settings)

    def tariff(self) -> Tariff:
        settings: Any = self.settings
        return Tariff(
            provider=self.kind.name,
            channel=self.kind.channel,
            prices=settings.prices,
            free=settings.free_tier or NO_TIER,
        )


@dataclass(frozen=True, slots=True)
class Config:
    """What the gateway runs with."""

    gateway: GatewaySettings
    providers: tuple[ChosenProvider, ...]
    otp: OtpSettings
    delivery: DeliverySettings
    budgets: BudgetSettings
    webhooks: WebhookSettings

    @property
    def all_budgets(self) -> Budgets:
        """Those of providers and those of callers."""
        paid = [(p.kind.name, p.settings) for p in self.providers if isinstance(p.settings, PaidProviderSettings)]
        providers = {name: settings.budget for name, settings in paid if settings.budget is not None}
        return Budgets(providers=providers, callers=self.budgets.caller_budgets)

    @property
    def tariffs(self) -> tuple[Tariff, ...]:
        """The prices of every provider that may charge for messages."""
        return tuple(p.tariff() for p in self.providers if isinstance(p.settings, PaidProviderSettings))


def load_env_file(environ: MutableMapping[str, str] = os.environ) -> None:
    """Adds the variables of RELAYPOST_ENV_FILE; libraries such as botocore read them there too."""
    path = environ.get(ENV_FILE, "").strip()
    if not path:
        return
    if not Path(path).is_file():
        raise SettingsError([Problem(setting=ENV_FILE, what="names no file", fix="Correct the path, or unset it.")])
    for name, value in dotenv_values(path).items():
        if value is not None:
            environ.setdefault(name, value)


def load(environ: Mapping[str, str] = os.environ) -> Config:
    """The whole configuration. Raises SettingsError with every mistake that was found."""
    environ = dict(environ)
    if "AWS_DEFAULT_REGION" in environ:
        environ.setdefault("AWS_REGION", environ["AWS_DEFAULT_REGION"])
    gateway, problems = read(GatewaySettings, environ)
    otp, of_otp = read(OtpSettings, environ)
    delivery, of_delivery = read(DeliverySettings, environ)
    budgets, of_budgets = read(BudgetSettings, environ)
    webhooks, of_webhooks = read(WebhookSettings, environ)
    problems += [*of_otp, *of_delivery, *of_budgets, *of_webhooks]
    models = {kind.Settings for kind in PROVIDERS}
    own = (GatewaySettings, OtpSettings, DeliverySettings, BudgetSettings, WebhookSettings)
    problems += unknown(environ, [*own, *models])
    problems += aws_problems(environ)
    settings: dict[type[ProviderSettings], ProviderSettings] = {}
    for model in sorted(models, key=lambda m: m.__name__):
        found, mistakes = read(model, environ)
        problems += mistakes
        if found is not None:
            settings[model] = found
            problems += found.problems()
            problems += found.enabled_by_halves()
    if problems or gateway is None or otp is None or delivery is None or budgets is None or webhooks is None:
        raise SettingsError(problems)
    chosen = _choose(gateway, settings)
    problems = _production_problems(gateway, chosen, otp)
    if problems:
        raise SettingsError(problems)
    return Config(gateway, chosen, otp, delivery, budgets, webhooks)


def _choose(
    gateway: GatewaySettings, settings: Mapping[type[ProviderSettings], ProviderSettings]
) -> tuple[ChosenProvider, ...]:
    """Every provider that is configured; the console where a channel has no real one."""
    wanted = [
        ChosenProvider(kind, settings[kind.Settings])
        for kind in PROVIDERS
        if settings[kind.Settings].configured and settings[kind.Settings].enabled is not False
    ]
    real = {p.kind.channel for p in wanted if not _for_development(p)}

    def takes_part(provider: ChosenProvider) -> bool:
        if not _for_development(provider):
            return True
        if gateway.environment is Environment.PRODUCTION:
            return provider.settings.enabled is True  # A mistake, which is reported.
        return provider.kind.channel not in real or getattr(provider.settings, "beside_real", False)

    return tuple(p for p in wanted if takes_part(p))


def _for_development(provider: ChosenProvider) -> bool:
    return getattr(provider.kind, "development", False)


def _production_problems(gateway: GatewaySettings, chosen: Sequence[ChosenProvider], otp: OtpSettings) -> list[Problem]:
    if gateway.environment is not Environment.PRODUCTION:
        return []
    problems = []
    if any(_for_development(p) for p in chosen):
        fix = "Remove it: the console prints messages and delivers none."
        problems.append(Problem(setting="RELAYPOST_CONSOLE_ENABLED", what="is true in production", fix=fix))
    elif not chosen:
        fix = "Configure at least one provider, for example with AWS_REGION and OTP_FROM_EMAIL; see docs/setup.md."
        problems.append(Problem(setting="RELAYPOST_ENV", what="is production, and no provider is configured", fix=fix))
    if otp.pepper is None:
        fix = "Set it to a secret of 32 characters or more, the same for all gateways; see docs/otp.md."
        problems.append(Problem(setting="RELAYPOST_OTP_PEPPER", what="is missing in production", fix=fix))
    return problems
