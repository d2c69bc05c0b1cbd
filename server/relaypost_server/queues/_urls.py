"""What a queue's URL says. Nothing that is raised holds any part of it: it may be a secret."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlencode, urlsplit

PREFIX = "relaypost"
"""Begins the names of queues where the URL says nothing else."""
HEARTBEAT_SECONDS = 10
"""After three of which without a word RabbitMQ counts as away."""
_FILES = ("cafile", "certfile", "keyfile")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
"""SQS allows 80 characters, of which the lane takes its part."""
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RabbitAddress:
    """Where RabbitMQ is, and what the queues' names there begin with."""

    url: str = field(repr=False)
    """As aio-pika reads it."""
    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SqsAddress:
    """The queues' region, and what their names begin with."""

    region: str
    prefix: str


Address = RabbitAddress | SqsAddress


def parse(url: str) -> Address:
    """Raises ValueError, which says what is wrong."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    match parts.scheme:
        case "amqp" | "amqps":
            return _rabbit(parts, port)
        case "sqs":
            return _sqs(parts)
        case _:
            raise ValueError("names no engine that there is: begin it with amqp://, amqps:// or sqs://")


def _rabbit(parts: SplitResult, port: int | None) -> RabbitAddress:
    if not parts.hostname:
        raise ValueError("names no host")
    if port == 0:
        raise ValueError("names a port that there is not")
    if "/" in parts.path[1:] or parts.fragment:
        raise ValueError("has more than a vhost behind its host: write a / in its name as %2F")
    options = _options(parts.query)
    prefix = options.pop("prefix", PREFIX)
    if not _NAME.fullmatch(prefix):
        raise ValueError("has a prefix that is not made of 1 to 60 letters, digits, - and _")
    options.setdefault("heartbeat", str(HEARTBEAT_SECONDS))
    if not options["heartbeat"].isdecimal() or not 1 <= int(options["heartbeat"]) <= 3600:
        raise ValueError("has a heartbeat that is not a number of seconds, 1 to 3600")
    for option in _FILES:
        if option in options and not Path(options[option]).is_file():
            raise ValueError(f"has a {option} that names no file")
    return RabbitAddress(url=parts._replace(query=urlencode(options)).geturl(), prefix=prefix)


def _options(query: str) -> dict[str, str]:
    found = parse_qs(query, keep_blank_values=True)
    if set(found) - {"prefix", "heartbeat", *_FILES}:
        raise ValueError(f"has an option that there is not: there are prefix, heartbeat, {', '.join(_FILES)}")
    if any(len(values) > 1 for values in found.values()):
        raise ValueError("has an option twice")
    return {name: values[0] for name, values in found.items()}


def _sqs(parts: SplitResult) -> SqsAddress:
    if not _REGION.fullmatch(parts.netloc):
        raise ValueError("names no region behind sqs://, as in sqs://eu-central-1/relaypost")
    prefix = unquote(parts.path[1:]) or PREFIX
    if not _NAME.fullmatch(prefix):
        raise ValueError("has a prefix that is not made of 1 to 60 letters, digits, - and _")
    if parts.query or parts.fragment:
        raise ValueError("has something behind its prefix, where nothing is read")
    return SqsAddress(region=parts.netloc, prefix=prefix)
