"""The settings of the gateway itself."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from platformdirs import user_data_path
from pydantic import AfterValidator, Field, SecretStr

from relaypost_server.addresses.emails import parse_email
from relaypost_server.core.message import Address
from relaypost_server.core.suppression import SuppressionPolicy
from relaypost_server.core.urls import check_database_url
from relaypost_server.core.webhook_targets import Network, networks
from relaypost_server.flow.dispatch import Limits
from relaypost_server.settings import NetworkList, Seconds, Settings, listed, prefixed
from relaypost_server.telemetry.logs import LogFormat
from relaypost_server.templates.locales import known_tag

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
    if not host or "/" in host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("is not of the form host:port")
    return value


def _database_url(url: SecretStr) -> SecretStr:
    check_database_url(url.get_secret_value())
    return url


def _data_dir() -> Path:
    """Root's own directories are closed to the unprivileged user that PostgreSQL must run as."""
    return Path("/var/lib/relaypost") if os.geteuid() == 0 else user_data_path("relaypost")


ListenAddress = Annotated[str, AfterValidator(_host_and_port)]
Connections = Annotated[int, Field(ge=1, le=1000)]
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
    database_url: Annotated[SecretStr, AfterValidator(_database_url)] | None = Field(
        None, description="postgresql://user:password@host/database; default: the bundled PostgreSQL"
    )
    database_request_connections: Connections = Field(
        4, description="the most connections for calls, such as those of one-time passwords and the queue"
    )
    database_request_seconds: Seconds = Field(10.0, description="how long such a statement may take, in seconds")
    database_background_connections: Connections = Field(
        3, description="the most connections for receipts and background tasks"
    )
    database_background_seconds: Seconds = Field(30.0, description="how long such a statement may take, in seconds")
    database_report_connections: Connections = Field(
        2, description="the most connections for reports and listings, as for ListMessages and GetCostReport"
    )
    database_report_seconds: Seconds = Field(
        6.0, description="how long a report's statement may take, and how long it may wait for a connection, in seconds"
    )
    database_report_queue: Annotated[int, Field(ge=0, le=1000)] = Field(
        6, description="the most reports and listings that wait for a connection; more are refused at once"
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
    max_pending_calls: Count = Field(
        250, description="calls that may wait in line; above it the transport refuses some, at 1.5 times as many all"
    )
    max_grpc_connections: Count = Field(1000, description="the most gRPC connections; more are closed at once")
    max_http_connections: Count = Field(
        500, description="the most HTTP connections; above it, the longest idle one is closed for a new one"
    )
    max_http_connections_per_peer: Count = Field(
        100, description="the most HTTP connections of one IPv4 address, or of one IPv6 /64 network"
    )
    trusted_proxies: NetworkList = Field(
        "",
        description="addresses or networks of your proxies, separated by commas, as in 10.0.0.0/8: they are exempt "
        "from the limit per peer, and their X-Forwarded-For is believed; default: none",
    )
    max_bulk_streams: Count = Field(
        50, description="the most SendBulk streams at once; more are refused with RESOURCE_EXHAUSTED"
    )
    shutdown_delay_seconds: Annotated[float, Field(ge=0, le=300)] = Field(
        3.0, description="how long to go on serving after SIGTERM, while load balancers look elsewhere, in seconds"
    )
    shutdown_grace_seconds: Seconds = Field(
        25.0, description="how long calls in flight and queue workers may take to end, in seconds"
    )

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
    def proxies(self) -> tuple[Network, ...]:
        return networks(listed(self.trusted_proxies))

    @property
    def limits(self) -> Limits:
        return Limits(
            default_deadline=self.default_deadline_seconds,
            longest_deadline=self.longest_deadline_seconds,
            shortest_attempt=self.shortest_attempt_seconds,
        )
