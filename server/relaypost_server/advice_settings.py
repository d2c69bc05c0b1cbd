"""The settings of the advice that gateways give one another."""

from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import Field

from relaypost_server.settings import Problem, Secret, Settings, prefixed

SCHEMES = ("redis", "rediss", "unix")


class AdviceSettings(Settings):
    """Gateways tell one another what they find out about providers; see docs/operations.md."""

    model_config = prefixed("redis")
    title: ClassVar = "Advice between gateways"

    url: Secret | None = Field(
        None,
        description="redis://user:password@host:6379, rediss:// for TLS, or unix://path: a Redis by which gateways "
        "warn one another; default: none, each finds out by itself",
    )
    prefix: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")] = Field(
        "relaypost:",
        description="what the name of the channel there begins with, the same for all that belong together",
    )

    def problems(self) -> list[Problem]:
        if self.url is None or _well_formed(self.url.get_secret_value()):
            return []
        fix = f"Begin it with one of {', '.join(f'{s}://' for s in SCHEMES)}, or unset it."
        return [Problem(setting="RELAYPOST_REDIS_URL", what="is not the URL of a Redis", fix=fix)]


def _well_formed(url: str) -> bool:
    try:
        port = urlsplit(url).port  # Reading it checks it.
    except ValueError:
        return False
    return urlsplit(url).scheme in SCHEMES and port != 0
