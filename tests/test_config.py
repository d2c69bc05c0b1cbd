"""Settings: the seed's names, every mistake at once, no value ever shown."""

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from relaypost_server.config import Config, load, load_env_file
from relaypost_server.core.breaker import BreakerPolicy
from relaypost_server.core.budgets import Budget
from relaypost_server.core.message import Address
from relaypost_server.core.money import Money
from relaypost_server.core.otp import OtpPolicy
from relaypost_server.core.tariffs import FreeTier, Period
from relaypost_server.core.webhook_retry import SUGGESTED_DELAYS
from relaypost_server.core.webhook_targets import TargetPolicy, networks
from relaypost_server.gateway_settings import GatewaySettings
from relaypost_server.providers import PROVIDERS
from relaypost_server.providers._settings import HttpsProviderSettings
from relaypost_server.providers._sns_settings import SnsSettings
from relaypost_server.settings import Settings, SettingsError, variables
from tests.providers.configured import SECRETS, TWILIO

SEED = {
    "AWS_ACCESS_KEY_ID": SECRETS["AWS_ACCESS_KEY_ID"],
    "AWS_SECRET_ACCESS_KEY": SECRETS["AWS_SECRET_ACCESS_KEY"],
    "AWS_REGION": "us-east-1",
    "OTP_FROM_EMAIL": "noreply@weedgo.com",
    "OTP_FROM_NAME": "WeedGo",
    "SENDGRID_API_KEY": SECRETS["SENDGRID_API_KEY"],
    **TWILIO,
    "SMTP_HOST": "smtp.gmail.com",
    "SMTP_PORT": "587",
    "SMTP_USER": "relay@example.com",
    "SMTP_PASSWORD": SECRETS["SMTP_PASSWORD"],
}


def names(config: Config) -> list[str]:
    chosen = sorted(config.providers, key=lambda p: (p.kind.channel, p.settings.priority))
    return [f"{p.kind.channel} {p.kind.name}" for p in chosen]


def test_webhooks_reach_what_is_public_by_default_and_what_is_opened() -> None:
    assert load({}).webhooks.targets == TargetPolicy(ports=(range(443, 444), range(8443, 8444)))
    assert load({}).webhooks.delays == SUGGESTED_DELAYS
    opened = load(
        {
            "RELAYPOST_WEBHOOK_ALLOW_HTTP": "true",
            "RELAYPOST_WEBHOOK_PORTS": "80, 8000-8009",
            "RELAYPOST_WEBHOOK_NETWORKS": "10.1.0.0/16, fd12::/16",
            "RELAYPOST_WEBHOOK_RETRY_DELAYS": "1, 2.5",
        }
    ).webhooks
    assert opened.targets == TargetPolicy(
        ports=(range(80, 81), range(8000, 8010)), http=True, networks=networks(["10.1.0.0/16", "fd12::/16"])
    )
    assert opened.delays == (1.0, 2.5)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("PORTS", "https"),
        ("PORTS", "0"),
        ("PORTS", "65536"),
        ("PORTS", "90-80"),
        ("NETWORKS", "10.0.0.1/8"),
        ("NETWORKS", "inside"),
        ("RETRY_DELAYS", "soon"),
        ("RETRY_DELAYS", "0"),
        ("RETRY_DELAYS", "604801"),
        ("RETRY_DELAYS", ",".join(["1"] * 31)),
    ],
)
def test_a_setting_of_webhooks_that_makes_no_sense_is_told(setting: str, value: str) -> None:
    assert set(problems(**{f"RELAYPOST_WEBHOOK_{setting}": value})) == {f"RELAYPOST_WEBHOOK_{setting}"}


def problems(**environ: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(environ)
    return {p.setting: p.what for p in caught.value.problems}


def test_the_seeds_names_configure_the_seeds_chains() -> None:
    config = load(SEED)
    assert names(config) == ["email ses", "email sendgrid", "email smtp", "sms sns", "sms twilio"]
    assert config.gateway.default_sender == Address(email="noreply@weedgo.com", name="WeedGo")


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("mysql://relay:s3cret@db/relaypost", "is not the URL of a PostgreSQL"),
        ("sqlite:///s3cret.db", "is not the URL of a PostgreSQL"),
        ("postgresql+asyncpg://relay:s3cret@db/relaypost", "is not the URL of a PostgreSQL"),
        ("db.internal:5432/s3cret", "is not the URL of a PostgreSQL"),
        ("host=db password=s3cret", "holds a space"),
        ("postgresql://relay:s3cret@db:port/relaypost", "has a port"),
        ("postgresql://relay:s3cret@db:0/relaypost", "has a port"),
        ("postgresql://relay:s3cret@a:5432,b:99999/relaypost", "has a port"),
        ("postgresql://relay:s3cret#1@db/relaypost", "write special characters of a password as %23"),
        ("postgresql://relay:s3cret@[::1/relaypost", "is not a URL"),
        ("postgresql://relay:s3cret@db/relaypost?sslmode=on", "has an option sslmode"),
        ("postgresql://relay:s3cret@db/relaypost?target_session_attrs=master", "has an option target_session_attrs"),
    ],
)
def test_a_url_of_no_postgresql_is_a_mistake_and_not_shown(url: str, what: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({"RELAYPOST_DATABASE_URL": url})
    [problem] = caught.value.problems
    assert (problem.setting, what in problem.what) == ("RELAYPOST_DATABASE_URL", True), problem.what
    assert "postgresql://user:password@host/database" in problem.fix
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://relay:s3cret@db/relaypost",
        "postgres://db",
        "postgresql://relay:p%40ss@[::1]:5432/relaypost?sslmode=verify-full",
        "postgresql://a:5432,b:5433/relaypost?target_session_attrs=read-write",
        "postgresql:///postgres?host=%2Ftmp%2Fx&user=relaypost",
    ],
)
def test_a_url_of_a_postgresql_is_taken(url: str) -> None:
    database_url = load({"RELAYPOST_DATABASE_URL": url}).gateway.database_url
    assert database_url is not None
    assert database_url.get_secret_value() == url


ENDPOINTS = {
    "RELAYPOST_SES_ENDPOINT",
    "RELAYPOST_SES_TOPIC_ENDPOINT",
    "RELAYPOST_SENDGRID_ENDPOINT",
    "RELAYPOST_SNS_ENDPOINT",
    "RELAYPOST_SNS_CLOUDWATCH_ENDPOINT",
    "RELAYPOST_TWILIO_ENDPOINT",
    "RELAYPOST_PUBLIC_URL",
    "RELAYPOST_QUEUE_ENDPOINT",
}


@pytest.mark.parametrize("setting", sorted(ENDPOINTS))
@pytest.mark.parametrize(
    "url", ["ftp://host", "host:8080", "https://", "https://host:99999", "https://u:s3cret@host", "https://host/ x"]
)
def test_a_url_of_no_http_server_is_a_mistake(setting: str, url: str) -> None:
    found = problems(**{setting: url})
    assert "s3cret" not in str(found)
    assert setting in found


@pytest.mark.parametrize(
    "host", ["smtp://host", "host:587", "bad:587", "https://host/x", "host name", "-", "host/path"]
)
def test_a_mail_server_is_a_name_and_no_url(host: str) -> None:
    assert "name of a host" in problems(SMTP_HOST=host)["SMTP_HOST"]


@pytest.mark.parametrize("address", ["http://0.0.0.0:8080", "0.0.0.0", "host:port", "host:99999"])
def test_a_listen_address_is_a_host_and_a_port(address: str) -> None:
    assert set(problems(RELAYPOST_HTTP_ADDRESS=address)) == {"RELAYPOST_HTTP_ADDRESS"}


@pytest.mark.parametrize(
    "url", ["http://host", "redis://host:port", "redis://host:0", "localhost:6379", "redis://[::1"]
)
def test_a_url_of_no_redis_is_a_mistake_and_not_shown(url: str) -> None:
    assert problems(RELAYPOST_REDIS_URL=url) == {"RELAYPOST_REDIS_URL": "is not the URL of a Redis"}


def test_redis_is_not_asked_for_and_not_even_imported_by_default() -> None:
    code = "import relaypost_server.app, sys; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert load({}).advice.url is None
    assert load({"RELAYPOST_REDIS_URL": "rediss://user:secret@host:6380/1"}).advice.prefix == "relaypost:"


def test_no_setting_at_all_prints_to_the_console() -> None:
    assert names(load({})) == ["email console", "sms console"]


def test_the_console_steps_back_from_a_channel_with_a_real_provider() -> None:
    assert names(load({"SMTP_HOST": "localhost"})) == ["email smtp", "sms console"]


def test_the_console_stands_beside_real_providers_where_it_is_told_to() -> None:
    environ = {"SMTP_HOST": "localhost", "RELAYPOST_CONSOLE_BESIDE_REAL": "true"}
    assert names(load(environ)) == ["email smtp", "email console", "sms console"]


PRODUCTION = {"RELAYPOST_ENV": "production", "RELAYPOST_OTP_PEPPER": "p" * 32}


def test_the_console_is_refused_in_production() -> None:
    found = problems(**PRODUCTION, SMTP_HOST="localhost", RELAYPOST_CONSOLE_ENABLED="true")
    assert list(found) == ["RELAYPOST_CONSOLE_ENABLED"]
    assert names(load({**PRODUCTION, "SMTP_HOST": "localhost"})) == ["email smtp"]


def test_production_needs_a_provider_and_a_pepper() -> None:
    assert list(problems(**PRODUCTION)) == ["RELAYPOST_ENV"]
    assert list(problems(RELAYPOST_ENV="production", SMTP_HOST="localhost")) == ["RELAYPOST_OTP_PEPPER"]
    assert list(problems(RELAYPOST_OTP_PEPPER="short")) == ["RELAYPOST_OTP_PEPPER"]


@pytest.mark.parametrize(
    ("name", "value"), [("COUNTRIES", "US,Mars"), ("COOL_DOWNS", "30,soon"), ("COOL_DOWNS", ","), ("ATTEMPTS", "0")]
)
def test_the_rules_of_codes_have_a_form(name: str, value: str) -> None:
    assert list(problems(**{f"RELAYPOST_OTP_{name}": value})) == [f"RELAYPOST_OTP_{name}"]


def test_the_rules_of_codes_are_settings() -> None:
    policy = load({"RELAYPOST_OTP_COUNTRIES": "US, CA", "RELAYPOST_OTP_COOL_DOWNS": "5,10"}).otp.policy
    assert (policy.countries, policy.cool_downs) == (frozenset({"US", "CA"}), (5.0, 10.0))
    assert load({}).otp.policy == OtpPolicy()


def test_settings_reorder_disable_and_tune() -> None:
    environ = {
        **SEED,
        "RELAYPOST_SMTP_PRIORITY": "1",
        "RELAYPOST_SES_PRIORITY": "3",
        "RELAYPOST_TWILIO_ENABLED": "false",
        "RELAYPOST_SENDGRID_BREAKER_FAILURES": "3",
        "RELAYPOST_SENDGRID_BREAKER_OPEN_SECONDS": "10",
    }
    config = load(environ)
    assert names(config) == ["email smtp", "email sendgrid", "email ses", "sms sns"]
    policies = {p.kind.name: p.settings.breaker_policy() for p in config.providers}
    assert policies["sendgrid"] == BreakerPolicy(failures_to_open=3, open_seconds=10.0)
    assert policies["smtp"] == BreakerPolicy()


def test_prices_are_dated_settings() -> None:
    prices = '{"as_of": "2026-11-01", "default": "0.05", "US": "0.00645"}'
    config = load({**SEED, "RELAYPOST_SNS_PRICES": prices})
    (sns,) = (p.settings for p in config.providers if p.kind.name == "sns")
    assert isinstance(sns, SnsSettings)
    assert sns.prices.price("US") == Money(micros=6450)
    assert sns.prices.price("DE") == Money(micros=50_000)


def test_every_mistake_is_reported_at_once() -> None:
    found = problems(
        RELAYPOST_SES_PRIORITY="first",
        RELAYPOST_SES_TIMEOUT_SECONDS="-1",
        RELAYPOST_SMTP_TIMEOUT="5",
        SMTP_PORT="99999",
        SMTP_USER="relay",
        OTP_FROM_EMAIL="nobody",
        TWILIO_ACCOUNT_SID="SK123",
        RELAYPOST_GRPC_ADDRESS="50051",
        RELAYPOST_LOG_LEVEL="LOUD",
        RELAYPOST_SNS_PRICES="{}",
        RELAYPOST_SENDGRID_ENDPOINT="ftp://x",
        RELAYPOST_SENDGRID_ENABLED="true",
        AWS_ACCESS_KEY_ID="x",
    )
    assert set(found) == {
        "RELAYPOST_SES_PRIORITY",
        "RELAYPOST_SES_TIMEOUT_SECONDS",
        "RELAYPOST_SMTP_TIMEOUT",
        "SMTP_PORT",
        "OTP_FROM_EMAIL",
        "TWILIO_ACCOUNT_SID",
        "RELAYPOST_GRPC_ADDRESS",
        "RELAYPOST_LOG_LEVEL",
        "RELAYPOST_SNS_PRICES",
        "RELAYPOST_SENDGRID_ENDPOINT",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
    }


def test_a_name_that_is_nearly_right_is_guessed() -> None:
    with pytest.raises(SettingsError, match=r"Did you mean RELAYPOST_SES_PRIORITY\?"):
        load({"RELAYPOST_SES_PRIORTY": "1"})


@pytest.mark.parametrize(
    ("environ", "setting"),
    [
        ({"TWILIO_AUTH_TOKEN": "x"}, "TWILIO_ACCOUNT_SID"),
        ({**TWILIO, "TWILIO_PHONE_NUMBER": ""}, "TWILIO_PHONE_NUMBER"),
        ({"SMTP_HOST": "h", "SMTP_USER": "u"}, "SMTP_PASSWORD"),
        ({"SMTP_USER": "u", "SMTP_PASSWORD": "p"}, "SMTP_HOST"),
        (
            {"SMTP_HOST": "h", "SMTP_USER": "u", "SMTP_PASSWORD": "p", "RELAYPOST_SMTP_TLS": "none"},
            "RELAYPOST_SMTP_TLS",
        ),
        ({"RELAYPOST_SENDGRID_ENABLED": "true"}, "RELAYPOST_SENDGRID_ENABLED"),
        ({"AWS_SECRET_ACCESS_KEY": "x"}, "AWS_ACCESS_KEY_ID"),
        ({"SMTP_HOST": "h", "RELAYPOST_SMTP_CA_FILE": "/no/such/file"}, "RELAYPOST_SMTP_CA_FILE"),
        ({"SENDGRID_API_KEY": "key\r\nX-Evil: 1"}, "SENDGRID_API_KEY"),
    ],
)
def test_what_is_set_by_halves_is_told_with_its_cure(environ: dict[str, str], setting: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ)
    assert setting in {p.setting for p in caught.value.problems}
    assert all(p.fix for p in caught.value.problems)


OVER_SMTP = {"SMTP_HOST": "h", "SMTP_USER": "u"}
FLOW = {
    "RELAYPOST_SMTP_OAUTH_TOKEN_URL": "https://login.example.com/token",
    "RELAYPOST_SMTP_OAUTH_CLIENT_ID": "id",
    "RELAYPOST_SMTP_OAUTH_CLIENT_SECRET": "s3cret",
}


@pytest.mark.parametrize(
    "environ",
    [
        OVER_SMTP | FLOW,
        OVER_SMTP | FLOW | {"RELAYPOST_SMTP_OAUTH_SCOPE": "https://outlook.office365.com/.default"},
        OVER_SMTP | FLOW | {"RELAYPOST_SMTP_OAUTH_TOKEN_URL": "http://127.0.0.1:8080/token"},
        OVER_SMTP | {"RELAYPOST_SMTP_OAUTH_TOKEN_FILE": "/run/token-that-is-written-later"},
        OVER_SMTP | {"RELAYPOST_SMTP_OAUTH_TOKEN_COMMAND": "echo 'a token'"},
        OVER_SMTP | {"SMTP_PASSWORD": "p", "RELAYPOST_SMTP_LOCAL_HOSTNAME": "[192.0.2.1]"},
        OVER_SMTP | {"SMTP_PASSWORD": "p", "RELAYPOST_SMTP_TLS_SERVER_NAME": "mail.example.com"},
    ],
)
def test_smtp_may_log_in_by_a_password_or_by_tokens(environ: dict[str, str]) -> None:
    assert names(load(environ))[0] == "email smtp"


@pytest.mark.parametrize(
    ("environ", "setting", "says"),
    [
        (FLOW | {"SMTP_HOST": "h"}, "SMTP_USER", "RELAYPOST_SMTP_OAUTH_TOKEN_URL"),
        (OVER_SMTP | FLOW | {"SMTP_PASSWORD": "p"}, "RELAYPOST_SMTP_OAUTH_TOKEN_URL", "SMTP_PASSWORD"),
        (
            OVER_SMTP | FLOW | {"RELAYPOST_SMTP_OAUTH_TOKEN_FILE": "/t"},
            "RELAYPOST_SMTP_OAUTH_TOKEN_FILE",
            "RELAYPOST_SMTP_OAUTH_TOKEN_URL",
        ),
        (OVER_SMTP | FLOW | {"RELAYPOST_SMTP_TLS": "none"}, "RELAYPOST_SMTP_TLS", "token"),
        (OVER_SMTP | dict(list(FLOW.items())[:2]), "RELAYPOST_SMTP_OAUTH_CLIENT_SECRET", "TOKEN_URL is set"),
        (OVER_SMTP | dict(list(FLOW.items())[1:]), "RELAYPOST_SMTP_OAUTH_TOKEN_URL", "CLIENT_ID is set"),
        (
            OVER_SMTP | {"SMTP_PASSWORD": "p", "RELAYPOST_SMTP_OAUTH_SCOPE": "x"},
            "RELAYPOST_SMTP_OAUTH_TOKEN_URL",
            "SCOPE",
        ),
        (
            OVER_SMTP | FLOW | {"RELAYPOST_SMTP_OAUTH_TOKEN_URL": "http://login.example.com/token"},
            "RELAYPOST_SMTP_OAUTH_TOKEN_URL",
            "https://",
        ),
        (
            OVER_SMTP | {"RELAYPOST_SMTP_OAUTH_TOKEN_COMMAND": "/no/such/program --token"},
            "RELAYPOST_SMTP_OAUTH_TOKEN_COMMAND",
            "program",
        ),
        (
            OVER_SMTP | {"RELAYPOST_SMTP_OAUTH_TOKEN_COMMAND": "echo 'not closed"},
            "RELAYPOST_SMTP_OAUTH_TOKEN_COMMAND",
            "quotation mark",
        ),
        (
            {"SMTP_HOST": "h", "RELAYPOST_SMTP_LOCAL_HOSTNAME": "münchen.example"},
            "RELAYPOST_SMTP_LOCAL_HOSTNAME",
            "ASCII",
        ),
        ({"SMTP_HOST": "h", "RELAYPOST_SMTP_LOCAL_HOSTNAME": "a b"}, "RELAYPOST_SMTP_LOCAL_HOSTNAME", "[192.0.2.1]"),
        ({"SMTP_HOST": "h", "RELAYPOST_SMTP_TLS_SERVER_NAME": "a/b"}, "RELAYPOST_SMTP_TLS_SERVER_NAME", "host"),
    ],
)
def test_ways_to_log_in_at_smtp_that_do_not_fit_together_are_told(
    environ: dict[str, str], setting: str, says: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ)
    [problem] = [p for p in caught.value.problems if p.setting == setting]
    assert says in str(problem)
    assert "s3cret" not in str(caught.value)


def test_a_file_that_holds_no_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    assert "RELAYPOST_SMTP_CA_FILE" in problems(SMTP_HOST="h", RELAYPOST_SMTP_CA_FILE=str(tmp_path / "ca.pem"))


@given(st.sampled_from(sorted(variables(GatewaySettings))), st.text("qzQZ\x00\n\u0661", min_size=12, max_size=30))
def test_no_complaint_shows_a_value(name: str, value: str) -> None:
    secrets = {n: f"{n}-canary\n" for n in SECRETS}
    with pytest.raises(SettingsError) as caught:
        load({**secrets, name: value, "RELAYPOST_NO_SUCH_SETTING": "x"})
    shown = str(caught.value)
    assert "canary" not in shown
    assert not value.strip() or value not in shown


def test_a_blank_variable_counts_as_not_set() -> None:
    assert names(load({"SMTP_HOST": " ", "SENDGRID_API_KEY": ""})) == ["email console", "sms console"]


def test_the_other_name_of_the_region_is_understood() -> None:
    assert "email ses" in names(load({"AWS_DEFAULT_REGION": "eu-west-1"}))


@pytest.mark.parametrize(
    ("environ", "shown"),
    [
        ({}, "None"),
        ({"HTTPS_PROXY": "http://ada:hunter2@upper:3128"}, "http://upper:3128"),
        ({"https_proxy": "http://ada:hunter2@lower:3128"}, "http://lower:3128"),
        ({"HTTPS_PROXY": "http://upper", "https_proxy": "http://lower:3128"}, "http://lower:3128"),
        ({"HTTPS_PROXY": "http://upper:3128", "https_proxy": ""}, "http://upper:3128"),
        ({"HTTPS_PROXY": "http://upper:3128", "NO_PROXY": ".amazonaws.com,api.sendgrid.com,.twilio.com"}, "None"),
        ({"HTTPS_PROXY": "http://upper:3128", "no_proxy": "*"}, "None"),
    ],
)
def test_the_proxy_of_the_environment_holds_for_every_provider_over_https(environ: dict[str, str], shown: str) -> None:
    over_https = [p.settings for p in load(SEED | environ).providers if isinstance(p.settings, HttpsProviderSettings)]
    assert len(over_https) == 4
    assert {str(settings.proxy_for(settings.base_url)) for settings in over_https} == {shown}
    assert "hunter2" not in repr(over_https)


def test_a_proxy_that_cannot_be_used_is_one_mistake_where_a_provider_needs_it() -> None:
    environ = {"HTTPS_PROXY": "socks5://ada:hunter2@proxy:1080"}
    load(environ)
    with pytest.raises(SettingsError) as caught:
        load(SEED | environ)
    assert [p.setting for p in caught.value.problems] == ["HTTPS_PROXY"]
    assert "hunter2" not in str(caught.value)


def test_a_file_of_variables_adds_to_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "relaypost.env"
    path.write_text("SMTP_HOST=from-file\nSMTP_PORT=25\n# a comment\n")
    environ = {"RELAYPOST_ENV_FILE": str(path), "SMTP_PORT": "2525"}
    load_env_file(environ)
    assert (environ["SMTP_HOST"], environ["SMTP_PORT"]) == ("from-file", "2525")


def test_a_file_of_variables_that_is_not_there_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match="RELAYPOST_ENV_FILE"):
        load_env_file({"RELAYPOST_ENV_FILE": "/no/such/file"})


def test_every_setting_explains_itself() -> None:
    models: set[type[Settings]] = {GatewaySettings, *(p.Settings for p in PROVIDERS)}
    for model in models:
        for name, field in variables(model).items():
            assert field.description, name


def test_free_tiers_and_budgets_are_settings() -> None:
    config = load(
        SEED
        | {
            "RELAYPOST_SES_FREE_TIER": "62000/month",
            "RELAYPOST_SNS_FREE_TIER": "1000/month until 2027-06-30",
            "RELAYPOST_SMTP_FREE_TIER": "500/day",
            "RELAYPOST_SNS_BUDGET_SOFT": "100",
            "RELAYPOST_SNS_BUDGET_HARD": "129.50",
            "RELAYPOST_CALLER_BUDGETS": '{"signup": {"soft": "5", "hard": "10"}, "*": {"hard": "1"}}',
        }
    )
    free = {t.provider: t.free for t in config.tariffs}
    assert free["ses"] == FreeTier(units=62_000)
    assert free["sns"] == FreeTier(units=1_000, until=date(2027, 6, 30))
    assert free["smtp"] == FreeTier(units=500, per=Period.DAY)
    assert free["twilio"].units == 0
    budgets = config.all_budgets
    assert budgets.providers == {"sns": Budget(soft=Money(micros=100_000_000), hard=Money(micros=129_500_000))}
    assert budgets.of_caller("signup") == Budget(soft=Money(micros=5_000_000), hard=Money(micros=10_000_000))
    assert budgets.of_caller("other") == Budget(hard=Money(micros=1_000_000))
    assert not load(SEED).all_budgets


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("RELAYPOST_SES_FREE_TIER", "62000"),
        ("RELAYPOST_SES_FREE_TIER", "62000/year"),
        ("RELAYPOST_SES_FREE_TIER", "1/month until 2027-02-30"),
        ("RELAYPOST_SES_BUDGET_HARD", "-1"),
        ("RELAYPOST_SES_BUDGET_HARD", "NaN"),
        ("RELAYPOST_SES_BUDGET_HARD", "much"),
        ("RELAYPOST_CALLER_BUDGETS", "[]"),
        ("RELAYPOST_CALLER_BUDGETS", '{"a": "5"}'),
        ("RELAYPOST_CALLER_BUDGETS", '{"a": {}}'),
        ("RELAYPOST_CALLER_BUDGETS", '{"a": {"hard": "-1"}}'),
        ("RELAYPOST_CALLER_BUDGETS", '{"a": {"soft": "2", "hard": "1"}}'),
        ("RELAYPOST_CALLER_BUDGETS", '{"a": {"medium": "2"}}'),
    ],
)
def test_a_tier_or_budget_that_makes_no_sense(setting: str, value: str) -> None:
    assert set(problems(**SEED, **{setting: value})) == {setting}


@pytest.mark.parametrize("provider", ["SES", "TWILIO", "SMTP"])
def test_a_soft_budget_over_the_hard_one_is_a_mistake(provider: str) -> None:
    limits = {f"RELAYPOST_{provider}_BUDGET_SOFT": "2", f"RELAYPOST_{provider}_BUDGET_HARD": "1"}
    assert set(problems(**SEED, **limits)) == {f"RELAYPOST_{provider}_BUDGET_SOFT"}
