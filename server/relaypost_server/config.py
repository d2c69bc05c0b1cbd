"""Everything that can be set, read once at the start, every mistake reported at once."""

import os
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from relaypost_server.advice_settings import AdviceSettings
from relaypost_server.budget_settings import BudgetSettings
from relaypost_server.core.budgets import Budgets
from relaypost_server.core.tariffs import NO_TIER, Tariff
from relaypost_server.delivery_settings import DeliverySettings
from relaypost_server.gateway_settings import Environment, GatewaySettings
from relaypost_server.otp_settings import OtpSettings
from relaypost_server.providers import PROVIDERS, ProviderKind
from relaypost_server.providers._settings import PaidProviderSettings, ProviderSettings, aws_problems
from relaypost_server.queue_settings import QueueSettings
from relaypost_server.settings import Problem, Settings, SettingsError, read, unknown
from relaypost_server.webhook_settings import WebhookSettings

ENV_FILE = "RELAYPOST_ENV_FILE"
HTTPS_PROXY, NO_PROXY = "HTTPS_PROXY", "NO_PROXY"
FEATURES: tuple[type[Settings], ...] = (
    OtpSettings,
    DeliverySettings,
    BudgetSettings,
    QueueSettings,
    WebhookSettings,
    AdviceSettings,
)
"""The settings of what a gateway can do beside sending."""


@dataclass(frozen=True, slots=True)
class ChosenProvider:
    """A provider that takes part, and its settings."""

    kind: ProviderKind
    settings: ProviderSettings

    def build(self) -> Any:
        return self.kind.load()(self.settings)

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
    queue: QueueSettings
    webhooks: WebhookSettings
    advice: AdviceSettings

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
    for name in (HTTPS_PROXY, NO_PROXY):  # In lower case they are more usual, and outweigh the others.
        environ[name] = environ.get(name.lower(), "").strip() or environ.get(name, "")
    gateway, problems = read(GatewaySettings, environ)
    otp, of_otp = read(OtpSettings, environ)
    delivery, of_delivery = read(DeliverySettings, environ)
    budgets, of_budgets = read(BudgetSettings, environ)
    queue, of_queue = read(QueueSettings, environ)
    webhooks, of_webhooks = read(WebhookSettings, environ)
    problems += [*of_otp, *of_delivery, *of_budgets, *of_queue, *of_webhooks]
    problems += queue.problems() if queue else []
    advice, of_advice = read(AdviceSettings, environ)
    problems += [*of_advice, *(advice.problems() if advice else [])]
    models = {kind.Settings for kind in PROVIDERS}
    problems += unknown(environ, [GatewaySettings, *FEATURES, *models])
    problems += aws_problems(environ)
    settings: dict[type[ProviderSettings], ProviderSettings] = {}
    for model in sorted(models, key=lambda m: m.__name__):
        found, mistakes = read(model, environ)
        problems += mistakes
        if found is not None:
            settings[model] = found
            problems += found.problems()
            problems += found.enabled_by_halves()
    if problems or not (gateway and otp and delivery and budgets and queue and webhooks and advice):
        raise SettingsError(dict.fromkeys(problems))  # Providers share settings, and their mistakes.
    chosen = _choose(gateway, settings)
    problems = _production_problems(gateway, chosen, otp)
    if problems:
        raise SettingsError(problems)
    return Config(gateway, chosen, otp, delivery, budgets, queue, webhooks, advice)


def _choose(
    gateway: GatewaySettings, settings: Mapping[type[ProviderSettings], ProviderSettings]
) -> tuple[ChosenProvider, ...]:
    """Every provider that is configured; the console where a channel has no real one."""
    wanted = [
        ChosenProvider(kind, settings[kind.Settings])
        for kind in PROVIDERS
        if settings[kind.Settings].configured and settings[kind.Settings].enabled is not False
    ]
    real = {p.kind.channel for p in wanted if not for_development(p)}

    def takes_part(provider: ChosenProvider) -> bool:
        if not for_development(provider):
            return True
        if gateway.environment is Environment.PRODUCTION:
            return provider.settings.enabled is True  # A mistake, which is reported.
        return provider.kind.channel not in real or getattr(provider.settings, "beside_real", False)

    return tuple(p for p in wanted if takes_part(p))


def for_development(provider: ChosenProvider) -> bool:
    """Whether the provider prints messages and delivers none."""
    return provider.kind.development


def _production_problems(gateway: GatewaySettings, chosen: Sequence[ChosenProvider], otp: OtpSettings) -> list[Problem]:
    if gateway.environment is not Environment.PRODUCTION:
        return []
    problems = []
    if any(for_development(p) for p in chosen):
        fix = "Remove it: the console prints messages and delivers none."
        problems.append(Problem(setting="RELAYPOST_CONSOLE_ENABLED", what="is true in production", fix=fix))
    elif not chosen:
        fix = "Configure at least one provider, for example with AWS_REGION and OTP_FROM_EMAIL; see docs/setup.md."
        problems.append(Problem(setting="RELAYPOST_ENV", what="is production, and no provider is configured", fix=fix))
    if otp.pepper is None:
        fix = "Set it to a secret of 32 characters or more, the same for all gateways; see docs/otp.md."
        problems.append(Problem(setting="RELAYPOST_OTP_PEPPER", what="is missing in production", fix=fix))
    return problems
