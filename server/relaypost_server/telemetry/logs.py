"""Structured logs: one event a line, with the ids of the trace it belongs to.

Nothing that is logged holds a secret, a message's text or a full address:
callers pass ids, or addresses through `core.redaction.mask`.
"""

import logging
import os
import sys
from enum import StrEnum

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from relaypost_server.telemetry.current import current_ids


class LogFormat(StrEnum):
    """JSON for machines, columns for people; AUTO asks whether a person is watching."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


_CHATTY = {
    "aio_pika": logging.CRITICAL,
    "aiohttp.access": logging.ERROR,
    "aiormq": logging.CRITICAL,
    "botocore": logging.WARNING,
    "urllib3": logging.WARNING,
}
"""Loggers of libraries that would drown our own events."""
_EXPORTER = "opentelemetry.exporter"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
SELDOM_SECONDS = 60.0


class Seldom(logging.Filter):
    """Lets one record through in SELDOM_SECONDS: a collector that is away is news, not every span it misses."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(_EXPORTER):
            return True
        if record.created < self._next:
            return False
        self._next = record.created + SELDOM_SECONDS
        return True


def configure(*, level: str = "INFO", style: LogFormat = LogFormat.AUTO) -> None:
    """Sends our events, and those of every library, to standard error in one format."""
    columns = sys.stderr.isatty() if style is LogFormat.AUTO else style is LogFormat.CONSOLE
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
    ]
    # A traceback shows no local variable in either format: they hold secrets, texts and addresses.
    render: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if columns
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Seldom())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name, floor in _CHATTY.items():
        logging.getLogger(name).setLevel(max(floor, logging.getLevelNamesMapping()[level]))
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        # Nobody said that there is a collector: that none answers where one would be by default is no news.
        logging.getLogger(_EXPORTER).setLevel(logging.CRITICAL)


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    ids = current_ids()
    if ids is not None:
        event["trace_id"] = f"{ids.trace_id:032x}"
        event["span_id"] = f"{ids.span_id:016x}"
    return event
