"""The settings of outgoing webhooks."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from relaypost_server.core.webhook_retry import SUGGESTED_DELAYS
from relaypost_server.core.webhook_targets import TargetPolicy, networks
from relaypost_server.settings import NetworkList, Settings, listed, prefixed

DAY_SECONDS = 86_400.0
MOST_RETRIES = 30


def _delays(text: str) -> str:
    try:
        pauses = [float(part) for part in listed(text)]
    except ValueError:
        pauses = [-1.0]
    if len(pauses) > MOST_RETRIES or not all(0 < pause <= 7 * DAY_SECONDS for pause in pauses):
        raise ValueError("is not a list of up to 30 numbers of seconds such as 5,300,1800, each at most 604800")
    return text


def _ports(text: str) -> str:
    if not all(0 < r.start < r.stop <= 65536 for r in _ranges(text)):
        raise ValueError("holds what is no port from 1 to 65535 and no range such as 8000-8999")
    return text


def _ranges(text: str) -> tuple[range, ...]:
    pairs = [part.partition("-") for part in listed(text)]
    try:
        return tuple(range(int(first), int(last or first) + 1) for first, _, last in pairs)
    except ValueError:
        raise ValueError("holds what is no port such as 443 and no range such as 8000-8999") from None


class WebhookSettings(Settings):
    """Callers are told of their messages as these say. What is not public is out of reach by default."""

    model_config = prefixed("webhook")
    title: ClassVar = "Webhooks"

    allow_http: bool = Field(False, description="true to post without TLS as well, where everybody on the way can read")
    ports: Annotated[str, AfterValidator(_ports)] = Field(
        "443,8443", description="the ports that may be used, as in 443,8000-8999; add 80 for http"
    )
    networks: NetworkList = Field(
        "",
        description="networks that may be reached although they are not public, as in 10.1.0.0/16; metadata services "
        "never; default: none",
    )
    timeout_seconds: Annotated[float, Field(ge=0.1, le=60)] = Field(
        15.0, description="how long an endpoint may take to answer, in seconds"
    )
    retry_delays: Annotated[str, AfterValidator(_delays)] = Field(
        ",".join(f"{delay:.0f}" for delay in SUGGESTED_DELAYS),
        description="the most seconds before each further try; as many tries follow the first",
    )
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(
        4, description="the most tries at one endpoint at once, of one gateway"
    )
    rotation_hours: Annotated[float, Field(ge=0, le=168)] = Field(
        24.0, description="how long an old secret goes on signing beside a new one, in hours"
    )
    retention_days: Annotated[float, Field(ge=1, le=3650)] = Field(
        30.0, description="how long deliveries are kept, dead ones and those that wait included, in days"
    )

    @property
    def targets(self) -> TargetPolicy:
        return TargetPolicy(ports=_ranges(self.ports), http=self.allow_http, networks=networks(listed(self.networks)))

    @property
    def delays(self) -> tuple[float, ...]:
        return tuple(float(part) for part in listed(self.retry_delays))
